"""Words: labels put together, with times in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamina.speech.decode.decoder import Label

if TYPE_CHECKING:
    from lamina.speech.units import Units

__all__ = ["Word", "words"]


@dataclass(frozen=True)
class Word:
    """A word from `start` to `end`, seconds since the stream began. confidence: that of its least certain label."""

    text: str
    start: float
    end: float
    confidence: float


def words(labels: Sequence[Label], units: Units, seconds: float) -> list[Word]:
    """The words of labels in their order; seconds of sound a frame.

    A word begins with the first label and with each that `units.starts_word`; one that spells nothing, as a space does,
    has no part in a word's time and confidence. A word lasts from its first label's first frame to the end of its last
    one's frames: CTC tells when a label is certain, not when its sound ends.
    """
    found: list[Word] = []
    heard: list[Label] = []

    def close() -> None:
        text = units.decode([one.label for one in heard]).strip()
        if text:
            spelling = [one for one in heard if units.decode([one.label]).strip()]
            start, end = spelling[0].frame, spelling[-1].frame + spelling[-1].frames
            found.append(Word(text, seconds * start, seconds * end, min(one.confidence for one in spelling)))

    for one in labels:
        if units.starts_word(one.label):
            close()
            heard = []
        heard.append(one)
    close()
    return found
