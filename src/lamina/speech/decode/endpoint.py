"""Endpoint: when somebody has stopped speaking, by how long no label has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lamina.core import UserError
from lamina.speech.decode.decoder import Label

__all__ = ["PAUSE", "Endpoint"]

PAUSE = 0.8  # seconds without a label that part words, subtitles, lines and utterances
EndpointState = dict[str, int]
"""now: frames since the stream began; last: the frame behind the last label, or behind the last end; heard: 0 or 1."""


@dataclass(frozen=True)
class Endpoint:
    """An utterance ends `after` seconds without a label once there was one, or `never` seconds where there was none.

    seconds: of sound that a frame stands for. after and never are reached at the first frame that makes them full.
    """

    seconds: float
    after: float = PAUSE
    never: float = 5.0

    def __post_init__(self) -> None:
        for name in ("seconds", "after", "never"):
            if not getattr(self, name) > 0:
                raise UserError(f"Endpoint: {name} {getattr(self, name):g}; give more than 0 seconds")

    def init_state(self) -> EndpointState:
        return {"now": 0, "last": 0, "heard": 0}

    def step(self, frames: int, labels: Sequence[Label], state: EndpointState) -> tuple[bool, EndpointState]:
        """`frames` more, and the labels that are known by then, final and pending -> whether an utterance ends here,
        and the state behind it. The next utterance begins where one ends: labels heard before that count no more.
        """
        now, last, heard = state["now"] + frames, state["last"], state["heard"]
        for one in labels:
            if one.frame + one.frames > last:
                last, heard = one.frame + one.frames, 1
        silent = self.seconds * (now - last)
        # a frame's length is a rounded number: 20 frames of 0.04 s must fill 0.8 s
        if silent >= (self.after if heard else self.never) - 1e-9:
            return True, {"now": now, "last": now, "heard": 0}
        return False, {"now": now, "last": last, "heard": heard}
