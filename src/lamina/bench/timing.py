"""Timing several calls against each other on a machine that does other things too."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Timing", "interleaved", "rounds_within"]


@dataclass(frozen=True)
class Timing:
    """Microseconds of one call: median and the 5th, 95th and 99th percentile."""

    median: float
    p5: float
    p95: float
    p99: float

    def as_dict(self) -> dict[str, float]:
        found = {"us_p50": self.median, "us_p5": self.p5, "us_p95": self.p95, "us_p99": self.p99}
        return {name: round(us, 1) for name, us in found.items()}


def interleaved(
    calls: dict[str, Callable[[], Any]], rounds: int, warmup: int = 20, burst: int = 1
) -> dict[str, Timing]:
    """Times the calls in turn, so that whatever else the machine does meets all of them alike.

    burst: calls a turn. With more than one the first is not counted: it brings back into the cache what the others'
    turns drove out of it, as nothing does in a stream.
    """
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(warmup + rounds):
        for name, call in calls.items():
            for k in range(burst):
                start = time.perf_counter()
                call()
                if i >= warmup and (k or burst == 1):
                    spent[name].append(1e6 * (time.perf_counter() - start))
    return {name: Timing(*map(float, np.percentile(times, (50, 5, 95, 99)))) for name, times in spent.items()}


def rounds_within(calls: dict[str, Callable[[], Any]], seconds: float, least: int = 5, most: int = 400) -> int:
    """How many rounds of the calls fit in that time, after one round that is not counted."""
    for _ in range(2):  # the first round pays for what is made once
        start = time.perf_counter()
        for call in calls.values():
            call()
        one = time.perf_counter() - start
    return int(np.clip(seconds / one, least, most))
