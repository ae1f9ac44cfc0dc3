"""Telling: the labels of a stream as text and words, as they become final."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lamina.speech.decode import PAUSE, Label, Word, words
from lamina.speech.units import Units

__all__ = ["Telling", "Transcript"]

LONGEST = 64  # labels of a word


@dataclass(frozen=True)
class Transcript:
    """What was said, and its words with their times in seconds."""

    text: str
    words: tuple[Word, ...]


@dataclass
class Telling:
    """Final labels come in order; only those of the last word are looked at again, so that a long stream costs no more
    than a short one. The text is that of all labels together.

    text and words: of the words that have ended. open: the labels of the one that has not.
    """

    units: Units
    seconds: float  # of sound that a frame stands for
    text: str = ""
    words: list[Word] = field(default_factory=list)
    open: list[Label] = field(default_factory=list)

    def add(self, labels: Sequence[Label]) -> None:
        """More final labels."""
        for one in labels:
            if self.open and self._ended(one):
                self.text += self._spelled(self.open)
                self.words += words(self.open, self.units, self.seconds)
                self.open = []
            self.open.append(one)

    def now(self) -> Transcript:
        """The stable text: that of all labels so far."""
        told = (self.text + self._spelled(self.open)).strip()
        return Transcript(told, (*self.words, *words(self.open, self.units, self.seconds)))

    def beyond(self, stable: str, pending: Sequence[Label]) -> str:
        """What labels that are not final add to the stable text, which `now` gave."""
        more = Telling(self.units, self.seconds, self.text, [], list(self.open))
        more.add(pending)
        return (more.text + more._spelled(more.open)).strip()[len(stable) :]

    def _ended(self, one: Label) -> bool:
        """Whether the open word ends before that label: it begins another, or comes after a pause, or it is no word.

        Units without spaces, as digits are, make words of what is said at a stretch.
        """
        last = self.open[-1]
        pause = (one.frame - last.frame - last.frames) * self.seconds
        return self.units.starts_word(one.label) or pause >= PAUSE or len(self.open) >= LONGEST

    def _spelled(self, labels: Sequence[Label]) -> str:
        """A word's text with the space before it, which SentencePiece takes from what it thinks is the first."""
        text = self.units.decode([one.label for one in labels])
        space = labels and self.units.starts_word(labels[0].label) and not text.startswith(" ")
        return f" {text}" if space else text
