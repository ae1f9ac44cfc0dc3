"""Teller: captions as messages of what is new in them."""

from __future__ import annotations

from typing import Any

from lamina.speech.listeners import Caption
from lamina.speech.settling import Settling

__all__ = ["Teller"]


class Teller:
    """What a client has been told.

    `see` every caption in its order; `message` gives the newest that was seen, beginning where the last message ended,
    so that captions in between may be left out.
    """

    def __init__(self) -> None:
        self.caption: Caption | None = None
        self.told = self.ends = 0  # characters of the stable text, and ends of utterances, in messages so far
        self.at = 0.0  # when the oldest message had come that the caption answers
        self.settling = Settling()

    def see(self, caption: Caption, at: float) -> None:
        """The next caption; at: when the oldest message that it answers had come."""
        self.at = at if self.caption is None else min(self.at, at)
        self.caption = caption
        self.settling.see(caption)

    def message(self, now: float) -> dict[str, Any] | None:
        """The message to send now; None where nothing was seen since the last."""
        caption, self.caption = self.caption, None
        if caption is None:
            return None
        words = [
            {"text": word.text, "start": round(word.start, 3), "end": round(word.end, 3),
             "confidence": round(word.confidence, 3), "emission_ms": round(emission)}
            for word, emission in self.settling.settled(caption)
        ]  # fmt: skip
        at, self.told = self.told, len(caption.stable)
        ends, self.ends = list(caption.ends[self.ends :]), len(caption.ends)
        return {"type": "caption", "at": at, "stable": caption.stable[at:], "provisional": caption.provisional,
                "ends": ends, "words": words, "seconds": round(caption.seconds, 3),
                "compute_ms": round(1e3 * (now - self.at), 3), "ended": caption.ended}  # fmt: skip
