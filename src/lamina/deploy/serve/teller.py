"""Teller: captions as messages of what is new in them."""

from __future__ import annotations

from typing import Any

from lamina.speech.listeners import Caption

__all__ = ["Teller"]


class Teller:
    """What a client has been told, and when each word first stood in the stable text.

    `see` every caption in its order; `message` gives the newest that was seen, beginning where the last message ended,
    so that captions in between may be left out.
    """

    def __init__(self) -> None:
        self.caption: Caption | None = None
        self.told = self.words = 0  # characters of the stable text, and final words, in messages so far
        self.at = 0.0  # of the oldest message of sound that is not answered yet
        self.shown: dict[int, tuple[str, float]] = {}  # words not told: text, when it stood there

    def see(self, caption: Caption, at: float) -> None:
        """The next caption; at: when the oldest message of sound behind it had come."""
        self.at = at if self.caption is None else min(self.at, at)
        self.caption = caption
        for i in range(self.words, len(caption.words)):
            text = caption.words[i].text
            if self.shown.get(i, ("",))[0] != text:
                self.shown[i] = text, caption.seconds

    def message(self, now: float) -> dict[str, Any] | None:
        """The message to send now; None where nothing was seen since the last."""
        caption, self.caption = self.caption, None
        if caption is None:
            return None
        final = len(caption.words) - (not caption.ended)  # the last word may still grow
        words = []
        for i in range(self.words, final):
            word = caption.words[i]
            late = 1e3 * (self.shown.pop(i)[1] - word.end)
            words.append({"text": word.text, "start": round(word.start, 3), "end": round(word.end, 3),
                          "confidence": round(word.confidence, 3), "emission_ms": round(max(0.0, late))})  # fmt: skip
        at, self.told, self.words = self.told, len(caption.stable), max(self.words, final)
        return {"type": "caption", "at": at, "stable": caption.stable[at:], "provisional": caption.provisional,
                "words": words, "seconds": round(caption.seconds, 3), "compute_ms": round(1e3 * (now - self.at), 3),
                "ended": caption.ended}  # fmt: skip
