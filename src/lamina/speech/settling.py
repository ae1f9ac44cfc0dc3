"""Settling: how much sound is heard from a word's end until the word stands, as it is, in the stable text."""

from __future__ import annotations

from lamina.speech.decode import Word
from lamina.speech.listeners import Caption

__all__ = ["Settling"]


class Settling:
    """`see` every caption of a stream in its order; `settled` gives each word once, when it can grow no more."""

    def __init__(self) -> None:
        self.words = 0  # given by settled
        self.shown: dict[
            int, tuple[str, float]
        ] = {}  # of those behind: text, and the seconds heard when it stood there

    def see(self, caption: Caption) -> None:
        """The next caption."""
        for i in range(self.words, len(caption.words)):
            text = caption.words[i].text
            if self.shown.get(i, ("",))[0] != text:
                self.shown[i] = text, caption.seconds

    def settled(self, caption: Caption) -> list[tuple[Word, float]]:
        """The words of the newest caption that later ones do not change, each with its emission in ms, 0 or more."""
        final = len(caption.words) - (not caption.ended)  # the last word may still grow
        new = [(word, self.shown.pop(self.words + i)[1]) for i, word in enumerate(caption.words[self.words : final])]
        self.words += len(new)
        return [(word, max(0.0, 1e3 * (shown - word.end))) for word, shown in new]
