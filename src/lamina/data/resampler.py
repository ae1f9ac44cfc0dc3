"""Resampler: a stream of samples at one rate as samples at another, as they come."""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamina.data.audio import needs

__all__ = ["RATES", "Resampler", "Samples", "delay"]

RATES = (4_000, 192_000)  # Hz that live sound may have
KEPT = 0.5  # seconds of sound in a saved resampler: more than its filter reaches back
Samples = NDArray[np.float32]


class Resampler:
    """A stream [n] at one rate as [n'] at another, by soxr (high quality): what `resampled` gives for all at once.

    soxr's state cannot be read. So the last KEPT seconds of the input are kept, from a sample that falls on one of the
    output, and another resampler hears them again: it goes on as the first would, to float32's rounding.
    """

    def __init__(self, rate: int, to: int) -> None:
        self.rate, self.to = rate, to
        self.unit = rate // gcd(rate, to)  # input samples between two that fall on output samples
        self.heard = self.given = self.held = 0  # held: of the input, in `latest`
        self.latest: deque[Samples] = deque()  # pieces that hold the tail, joined where it is asked for
        self.early: Samples = np.zeros(0, np.float32)
        self.known = 0  # of the next samples: given already
        self.stream = _stream(rate, to)

    def push(self, x: Samples) -> Samples:
        """The samples that are ready."""
        self.heard += len(x)
        if self.stream is None:
            return x
        self.latest.append(x)
        self.held += len(x)
        while self.latest and self.held - len(self.latest[0]) >= self._kept():
            self.held -= len(self.latest.popleft())
        return self._given(self.stream.resample_chunk(x))

    @property
    def tail(self) -> Samples:
        """The last KEPT seconds of the input, from a sample that falls on one of the output."""
        return np.concatenate([np.zeros(0, np.float32), *self.latest])[self.held - self._kept() :]

    def _kept(self) -> int:
        """Samples of the tail."""
        return self.heard - max(0, self.heard - int(KEPT * self.rate)) // self.unit * self.unit

    def finish(self) -> Samples:
        """The rest, at the end of the stream."""
        if self.stream is None:
            return np.zeros(0, np.float32)
        return self._given(self.stream.resample_chunk(np.zeros(0, np.float32), last=True))

    @classmethod
    def resumed(cls, rate: int, to: int, heard: int, given: int, tail: Samples) -> Resampler:
        """The resampler that had heard and given so many samples; tail: the last of what it heard."""
        self = cls(rate, to)
        self.heard, self.given, self.held = heard, given, len(tail)
        self.latest.append(tail)
        if self.stream is not None:
            again = self.stream.resample_chunk(tail)
            known = given - (heard - len(tail)) // self.unit * (to // gcd(rate, to))  # of what the tail gives
            self.early, self.known = again[max(0, known) :], max(0, known - len(again))
        return self

    def _given(self, y: Samples) -> Samples:
        """Those of y that were not given before, behind those that came too early."""
        skipped = min(self.known, len(y))
        y = np.concatenate([self.early, y[skipped:]])
        self.early, self.known = self.early[:0], self.known - skipped
        self.given += len(y)
        return y


def _stream(rate: int, to: int) -> Any:
    if rate == to:
        return None
    return needs("soxr", f"resampling from {rate} to {to} Hz").ResampleStream(
        rate, to, 1, dtype="float32", quality="HQ"
    )


@lru_cache(maxsize=64)
def delay(rate: int, to: int) -> float:
    """Seconds that the resampler may keep a sample back, at worst: measured over two seconds, in steps of 10 ms."""
    stream = _stream(rate, to)
    if stream is None:
        return 0.0
    step, worst, given = rate // 100, 0.0, 0
    for i in range(200):
        given += len(stream.resample_chunk(np.zeros(step, np.float32)))
        worst = max(worst, (i + 1) * step / rate - given / to)
    return worst
