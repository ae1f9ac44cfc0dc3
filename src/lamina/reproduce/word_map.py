"""WordMap: where each word of a target looked in the source, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lamina.reproduce.picture import text_at

__all__ = ["WordMap"]

CELL, SIDE, HEAD = 22, 96, 92  # a word's square; room for the target's words, and for the source's above
CHARACTERS = 12  # of a word that are shown


@dataclass(frozen=True)
class WordMap:
    """weights [target words][source words] in 0..1, dark is much; one colour, with its bar."""

    source: Sequence[str]
    target: Sequence[str]
    weights: Sequence[Sequence[float]]
    title: str
    colour: str

    @property
    def height(self) -> int:
        return 26 + HEAD + CELL * len(self.target)

    def draw(self, left: float, top: float, width: float) -> str:
        cell = min(CELL, (width - SIDE - 50) / max(1, len(self.source)))
        x, y = left + SIDE, top + 26 + HEAD
        out = [text_at(left, top + 14, self.title, "s")]
        for i, word in enumerate(self.source):
            at = x + (i + 0.5) * cell + 5, y - 6
            turned = f'transform="rotate(-60 {at[0]:.1f} {at[1]:.1f})"'
            out.append(text_at(*at, _short(word), "s").replace("<text", f"<text {turned}", 1))
        for j, (word, row) in enumerate(zip(self.target, self.weights, strict=True)):
            out.append(text_at(x - 8, y + (j + 0.5) * CELL + 5, _short(word), "", "end"))
            for i, weight in enumerate(row):
                out.append(self._square(x + i * cell, y + j * CELL, cell, CELL, weight))
        bar, tall = x + cell * len(self.source) + 14, min(CELL * len(self.target), 110)
        for step in range(11):
            out.append(self._square(bar, y + step * tall / 11, 10, tall / 11, 1 - step / 10))
        out += [text_at(bar + 15, y + 11, "1", "s"), text_at(bar + 15, y + tall, "0", "s")]
        return "".join(out)

    def _square(self, x: float, y: float, width: float, height: float, weight: float) -> str:
        size = f'width="{width - 1:.1f}" height="{height - 1:.1f}"'
        edge = 'stroke="var(--line)" stroke-width="0.5"'
        return f'<rect x="{x:.1f}" y="{y:.1f}" {size} fill="{self.colour}" fill-opacity="{weight:.3f}" {edge}/>'


def _short(word: str) -> str:
    return word if len(word) <= CHARACTERS else f"{word[: CHARACTERS - 1]}…"
