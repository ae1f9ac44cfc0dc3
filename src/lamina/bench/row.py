"""A row of the table: one op, layer or stack at one size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lamina.bench.case import Case
from lamina.bench.peer import Peer
from lamina.bench.work import Work

__all__ = ["Row", "Target"]


@dataclass(frozen=True)
class Target:
    """How many times faster than the best peer it must be, and how many are aimed at."""

    must: float
    aim: float

    def met(self, ratio: float) -> str:
        return "aim" if ratio >= self.aim else "must" if ratio >= self.must else "no"


@dataclass(frozen=True)
class Row:
    """case(dtype, piece) is ours; with piece the same numbers found in pieces of that many frames.

    work and targets: by what is timed, "forward", "forward+backward" or "step". products: the matrix products of a
    layer alone, which are timed beside it.
    """

    name: str
    shape: str
    case: Callable[[torch.dtype, int | None], Case]
    peers: tuple[Peer, ...]
    work: dict[str, Work]
    targets: dict[str, Target]
    products: Callable[[], Case] | None = None

    @property
    def title(self) -> str:
        return f"{self.name} {self.shape}"

    @property
    def trains(self) -> bool:
        return "forward+backward" in self.targets
