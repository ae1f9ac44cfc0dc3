"""Pictures of claims: self-contained SVG by hand, dark and light by the reader's setting, the answer as the title."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10
from statistics import fmean
from typing import Protocol

from lamina.compare.report_families import family

__all__ = ["Axis", "Chart", "Dots", "Line", "Part", "Picture", "Row", "Tiles", "draw", "ink", "text_at"]

WIDTH, LEFT, RIGHT, EDGE = 560, 58, 132, 16
NAMES = 150  # the room for the names of rows
STYLE = """
svg{--ink:#1b1f23;--soft:#59626b;--line:#d4d8dc;--ground:#ffffff}
@media (prefers-color-scheme:dark){svg{--ink:#e8eaed;--soft:#a3abb3;--line:#3a4047;--ground:#14171a}}
text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;font-size:14px;font-variant-numeric:tabular-nums}
text{fill:var(--ink)}
.h{font-size:18px;font-weight:600}.s{fill:var(--soft)}.g{stroke:var(--line);stroke-width:1}
.r{stroke:var(--soft);stroke-width:1.2;stroke-dasharray:2 4}
.c{fill:none;stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}.d{stroke-dasharray:7 5}.k{stroke:var(--ink)}
""".strip()


def ink(name: str) -> str:
    """The colour of a family of structures, the same in every picture."""
    return family(name).colour


@dataclass(frozen=True)
class Axis:
    """An axis: its words with the unit, its scale, its ends (found from the data where None), its own tick places."""

    label: str = ""
    log: bool = False
    low: float | None = None
    high: float | None = None
    ticks: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Line:
    """A curve, or marks alone; the label stands at its end. An empty colour is the text's own."""

    xs: Sequence[float]
    ys: Sequence[float]
    colour: str = ""
    label: str = ""
    dash: bool = False
    line: bool = True
    marks: bool = False


class Part(Protocol):
    """A block of a picture, drawn into a width at a height of its own."""

    @property
    def height(self) -> int: ...

    def draw(self, left: float, top: float, width: float) -> str: ...


@dataclass(frozen=True)
class Chart:
    """Curves on two axes. rules are horizontal lines (number, words at their end)."""

    lines: Sequence[Line]
    x: Axis
    y: Axis
    rules: tuple[tuple[float, str], ...] = ()
    height: int = 260
    title: str = ""
    bare: bool = False  # a small multiple: a title, no tick words, no room for labels

    def draw(self, left: float, top: float, width: float) -> str:
        near, far = (6, 6) if self.bare else (LEFT, RIGHT)
        x = _Scale.over([v for l in self.lines for v in l.xs], self.x, left + near, left + width - far)
        head, foot = (24 if self.title or self.y.label else 4), (8 if self.bare else 42)
        levels = [v for l in self.lines for v in l.ys] + [v for v, _ in self.rules]
        y = _Scale.over(levels, self.y, top + self.height - foot, top + head)
        out = [text_at(left, top + 14, self.title or self.y.label, "s")]
        if not self.bare:
            out += self._grid(x, y)
        for number, _ in self.rules:
            out.append(
                f'<line class="r" x1="{x.start:.1f}" x2="{x.end:.1f}" y1="{y(number):.1f}" y2="{y(number):.1f}"/>'
            )
        for line in self.lines:
            out += self._line(line, x, y)
        words = [(l.label, y(l.ys[-1]), "") for l in self.lines if l.label and len(l.xs)]
        out += _labels([*words, *((said, y(number), "s") for number, said in self.rules)], x.end + 8)
        return "".join(out)

    def _grid(self, x: _Scale, y: _Scale) -> list[str]:
        out = []
        for v in y.ticks:
            out.append(f'<line class="g" x1="{x.start:.1f}" x2="{x.end:.1f}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>')
            out.append(text_at(x.start - 6, y(v) + 5, _number(v), "s", "end"))
        for v in x.ticks:
            out.append(text_at(x(v), y.start + 18, _number(v), "s", "middle"))
        out.append(text_at((x.start + x.end) / 2, y.start + 37, self.x.label, "s", "middle"))
        return out

    def _line(self, line: Line, x: _Scale, y: _Scale) -> list[str]:
        spots = [(x(a), y(b)) for a, b in zip(line.xs, line.ys, strict=True) if isfinite(b)]
        paint = f'style="stroke:{line.colour}"' if line.colour else ""
        out = []
        if line.line and spots:
            kind = "c" + (" d" if line.dash else "") + ("" if line.colour else " k")
            out.append(f'<polyline class="{kind}" {paint} points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in spots)}"/>')
        if line.marks:
            fill = line.colour or "var(--ink)"
            out += [
                f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" style="fill:{fill};stroke:var(--ground)"/>' for a, b in spots
            ]
        return out


@dataclass(frozen=True)
class Dots:
    """Scores by name: a dot each, on the bar from the least to the most; the mean stands at the end of the row.

    rows are (name, scores, colour); cut: a line behind so many rows.
    """

    rows: Sequence[tuple[str, Sequence[float], str]]
    x: Axis
    cut: int | None = None

    @property
    def height(self) -> int:
        return 24 + 28 * len(self.rows) + 24

    def draw(self, left: float, top: float, width: float) -> str:
        start, end, foot = left + NAMES, left + width - 60, top + self.height - 24
        x = _Scale.over([v for _, scores, _ in self.rows for v in scores], self.x, start, end)
        out = [text_at(left, top + 14, self.x.label, "s")]
        for v in x.ticks:
            out.append(f'<line class="g" x1="{x(v):.1f}" x2="{x(v):.1f}" y1="{top + 26:.1f}" y2="{foot:.1f}"/>')
            out.append(text_at(x(v), foot + 18, _number(v), "s", "middle"))
        if self.cut is not None:
            y = top + 24 + 28 * self.cut
            out.append(f'<line class="r" x1="{left:.1f}" x2="{end:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        for i, (name, scores, colour) in enumerate(self.rows):
            y = top + 38 + 28 * i
            out.append(text_at(left, y + 5, name))
            out.append(text_at(left + width, y + 5, f"{fmean(scores):.3g}" if scores else "diverged", "s", "end"))
            if scores:
                ends = f'x1="{x(min(scores)):.1f}" x2="{x(max(scores)):.1f}" y1="{y:.1f}" y2="{y:.1f}"'
                out.append(f'<line {ends} style="stroke:{colour};stroke-width:2.2"/>')
            spots = (f'cx="{x(score):.1f}" cy="{y:.1f}"' for score in scores)
            edge = "var(--ink)" if colour == ink("generative") else "var(--ground)"  # yellow is pale
            out += [f'<circle {spot} r="4.5" style="fill:{colour};stroke:{edge}"/>' for spot in spots]
        return "".join(out)


@dataclass(frozen=True)
class Row:
    """Parts side by side, of equal width."""

    parts: Sequence[Part]

    @property
    def height(self) -> int:
        return max(p.height for p in self.parts)

    def draw(self, left: float, top: float, width: float) -> str:
        gap = 12
        each = (width - gap * (len(self.parts) - 1)) / len(self.parts)
        return "".join(p.draw(left + i * (each + gap), top, each) for i, p in enumerate(self.parts))


@dataclass(frozen=True)
class Tiles:
    """Small images side by side [n][rows][columns] on one shared scale about zero: grey is 0, with its bar."""

    images: Sequence[Sequence[Sequence[float]]]
    title: str
    height: int = 104

    def draw(self, left: float, top: float, width: float) -> str:
        reach = max((abs(v) for image in self.images for row in image for v in row), default=1.0) or 1.0
        side = min(72.0, (width - 70 - 8 * len(self.images)) / max(1, len(self.images)))
        out = [text_at(left, top + 14, self.title, "s")]
        for i, image in enumerate(self.images):
            cell = side / len(image)
            for r, row in enumerate(image):
                for c, v in enumerate(row):
                    at = f'x="{left + i * (side + 8) + c * cell:.1f}" y="{top + 26 + r * cell:.1f}"'
                    out.append(
                        f'<rect {at} width="{cell + 0.3:.1f}" height="{cell + 0.3:.1f}" fill="{_grey(v / reach)}"/>'
                    )
        bar = left + len(self.images) * (side + 8) + 8
        for i in range(24):
            spot = f'x="{bar:.1f}" y="{top + 26 + i * side / 24:.1f}" width="10" height="{side / 24 + 0.3:.1f}"'
            out.append(f'<rect {spot} fill="{_grey(1 - 2 * i / 23)}"/>')
        for v, share in ((reach, 0.0), (0.0, 0.5), (-reach, 1.0)):
            out.append(text_at(bar + 16, top + 31 + share * side, f"{v:+.2g}" if v else "0", "s"))
        return "".join(out)


@dataclass(frozen=True)
class Picture:
    """A picture from `lamina.data.png`, its pixels as squares, `across` of them in all of its width."""

    data: str
    title: str
    across: int
    down: int

    @property
    def height(self) -> int:
        return 24 + round(168 * self.down / self.across)

    def draw(self, left: float, top: float, width: float) -> str:
        side = min(width, 168.0)
        size = f'width="{side:.1f}" height="{side * self.down / self.across:.1f}"'
        return (
            text_at(left, top + 14, self.title, "s")
            + f'<image x="{left:.1f}" y="{top + 22:.1f}" {size} style="image-rendering:pixelated" href="{self.data}"/>'
        )


def draw(title: str, note: str, parts: Sequence[Part]) -> str:
    """The picture: title, parts one under another, note."""
    title, note = (words.replace(" %", "\u00a0%") for words in (title, note))  # a number keeps its unit on its line
    heads, notes = textwrap.wrap(title, 48), textwrap.wrap(note, 68)
    out, top = [], EDGE + 18.0
    for line in heads:
        out.append(text_at(EDGE, top, line, "h"))
        top += 24
    top += 2
    for part in parts:
        out.append(part.draw(EDGE, top, WIDTH - 2 * EDGE))
        top += part.height + 14
    top += 8
    for line in notes:
        out.append(text_at(EDGE, top, line, "s"))
        top += 19
    height = round(top + 2)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img">'
        f"<title>{escape(title)}</title><desc>{escape(note)}</desc><style>{STYLE}</style>"
        f'<rect width="100%" height="100%" fill="var(--ground)"/>{"".join(out)}</svg>\n'
    )


@dataclass(frozen=True)
class _Scale:
    """Numbers to places between start and end."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, values: Sequence[float], axis: Axis, start: float, end: float) -> _Scale:
        real = [v for v in values if isfinite(v) and (v > 0 or not axis.log)] or [1.0]
        low = min(real) if axis.low is None else axis.low
        high = max(real) if axis.high is None else axis.high
        if high <= low:
            high = low * 2 if axis.log else low + 1
        if axis.log and axis.low is None and axis.ticks is None:  # room below and above the marks
            low, high = low / 1.2, high * 1.2
        ticks = axis.ticks if axis.ticks is not None else _decades(low, high) if axis.log else _even(low, high)
        return cls(
            low, high, start, end, axis.log, tuple(t for t in ticks if low * (1 - 1e-9) <= t <= high * (1 + 1e-9))
        )

    def __call__(self, value: float) -> float:
        value = min(max(value, self.low), self.high)
        a, b, v = (log10(n) for n in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return self.start + (self.end - self.start) * (v - a) / (b - a)


def _labels(wanted: list[tuple[str, float, str]], x: float) -> list[str]:
    """Words (text, height, class) at the ends of the lines, pushed apart where they would meet."""
    out, free = [], float("-inf")
    for words, y, kind in sorted(wanted, key=lambda w: w[1]):
        free = max(y + 5, free + 17)
        out.append(text_at(x, free, words, kind))
    return out


def text_at(x: float, y: float, words: str, kind: str = "", anchor: str = "") -> str:
    """Words at a place; kind "h" is a heading, "s" soft; anchor "end" or "middle" in place of their start."""
    if not words:
        return ""
    more = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(words)}</text>'


def _number(value: float) -> str:
    if value and abs(value) < 0.001:
        return f"{value:.0e}".replace("e-0", "e-")
    return f"{value:,.10g}"


def _decades(low: float, high: float) -> tuple[float, ...]:
    """Powers of ten; 2 and 5 between them where there are few."""
    between = (1, 2, 5) if log10(high / low) < 3 else (1,)
    powers = range(floor(log10(low)), floor(log10(high)) + 1)
    return tuple(float(f"{m}e{k}") for k in powers for m in between if low <= float(f"{m}e{k}") <= high)


def _even(low: float, high: float) -> tuple[float, ...]:
    """Three to six round numbers."""
    rough = (high - low) / 5
    size = 10.0 ** floor(log10(rough))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= rough)
    return tuple(round(k * step, 10) for k in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1))


def _grey(share: float) -> str:
    """-1 black, 0 middle grey, 1 white."""
    level = round(127.5 * (1 + max(-1.0, min(1.0, share))))
    return f"#{level:02x}{level:02x}{level:02x}"
