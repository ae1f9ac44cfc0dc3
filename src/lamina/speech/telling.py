"""Telling: the labels of a stream as text and words, as they become final."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lamina.speech.decode import Label, Word, words
from lamina.speech.units import Units

__all__ = ["PAUSE", "Telling", "Transcript"]

LONGEST = 64  # labels of a word
PAUSE = 0.8  # seconds without a label that part words, subtitles, lines and utterances


@dataclass(frozen=True)
class Transcript:
    """What was said, its words with their times in seconds, and where in the text utterances have ended: behind so many
    characters.
    """

    text: str
    words: tuple[Word, ...]
    ends: tuple[int, ...] = ()


@dataclass
class Telling:
    """Final labels come in order; only those of the last word are looked at again, so that a long stream costs no more
    than a short one. The text is that of all labels together.

    text and words: of the words that have ended. open: the labels of the one that has not. ends: of utterances, which
    no label follows for PAUSE seconds.
    """

    units: Units
    seconds: float  # of sound that a frame stands for
    text: str = ""
    words: list[Word] = field(default_factory=list)
    open: list[Label] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def add(self, labels: Sequence[Label]) -> None:
        """More final labels."""
        for one in labels:
            self.silent(one.frame)
            if self.open and self._ended(one):
                self.text += self._spelled(self.open)
                self.words += words(self.open, self.units, self.seconds)
                self.open = []
            self.open.append(one)

    def silent(self, frame: int) -> bool:
        """No label lies between the last one and that frame: whether that ends an utterance which had not ended yet."""
        if not self._paused(frame):
            return False
        end = len(self._told())
        new = end > (self.ends[-1] if self.ends else 0)
        if new:
            self.ends.append(end)
        return new

    def now(self) -> Transcript:
        """The stable text: that of all labels so far."""
        known = (*self.words, *words(self.open, self.units, self.seconds))
        return Transcript(self._told(), known, tuple(self.ends))

    def beyond(self, stable: str, pending: Sequence[Label]) -> str:
        """What labels that are not final add to the stable text, which `now` gave."""
        if not pending:
            return ""
        more = Telling(self.units, self.seconds, self.text, [], list(self.open))
        more.add(pending)
        return more._told()[len(stable) :]

    def _told(self) -> str:
        return (self.text + self._spelled(self.open)).strip()

    def _paused(self, frame: int) -> bool:
        """Whether the last label lies PAUSE before that frame, counted from the start."""
        if not self.open:
            return False
        last = self.open[-1]
        return (frame - last.frame - last.frames) * self.seconds >= PAUSE - 1e-9  # 0.8 s is 20 frames of 0.04 s

    def _ended(self, one: Label) -> bool:
        """Whether the open word ends before that label: it begins another, or comes after a pause, or it is no word.

        Units without spaces, as digits are, make words of what is said at a stretch.
        """
        return self.units.starts_word(one.label) or self._paused(one.frame) or len(self.open) >= LONGEST

    def _spelled(self, labels: Sequence[Label]) -> str:
        """A word's text with the space before it, which SentencePiece takes from what it thinks is the first."""
        text = self.units.decode([one.label for one in labels])
        space = labels and self.units.starts_word(labels[0].label) and not text.startswith(" ")
        return f" {text}" if space else text
