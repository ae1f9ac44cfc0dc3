"""Spaces: what a candidate is made of, where the first population comes from, and where it must stay."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from lamina.core.config import UserError

__all__ = ["Around", "Bits", "Reals", "Space"]


class Space(ABC):
    """Candidates of `genes` numbers each; a population is one tensor [P,G].

    scale: what the size of a mutation is measured by, [G] or one number for all. crossover, mutation: the usual ones.
    """

    genes: int
    scale: Tensor
    crossover: str
    mutation: str

    @abstractmethod
    def start(self, population: int, generator: Generator) -> Tensor:
        """The first population, [P,G]."""

    def keep(self, children: Tensor) -> Tensor:
        """The children [P,G], moved back into the space where an operator has left it."""
        return children


class Bits(Space):
    """Strings of bits: bool, each 0 or 1 alike at the start."""

    crossover, mutation = "two_point", "flip"

    def __init__(self, genes: int) -> None:
        self.genes, self.scale = _several(genes), torch.tensor(1.0)

    def start(self, population: int, generator: Generator) -> Tensor:
        return torch.randint(2, (population, self.genes), generator=generator).bool()


class Reals(Space):
    """Real numbers between bounds, float64: at the start anywhere there alike; what would leave stops at the bound.

    low, high: one number for all genes, or one for each.
    """

    crossover, mutation = "sbx", "polynomial"

    def __init__(
        self, genes: int, low: float | Sequence[float] | Tensor, high: float | Sequence[float] | Tensor
    ) -> None:
        self.genes = _several(genes)
        self.low, self.high = (torch.as_tensor(bound, dtype=torch.float64) for bound in (low, high))
        for bound in (self.low, self.high):
            if bound.shape not in ((), (genes,)):
                raise UserError(f"bounds of shape {list(bound.shape)} for {genes} genes; give one number, or {genes}")
        below, above = torch.broadcast_tensors(self.low, self.high)
        wrong = ~((below < above) & (above - below).isfinite())
        if wrong.any():
            at = int(wrong.reshape(-1).nonzero()[0])
            which = f" of gene {at}" if wrong.dim() else ""
            ends = f"{float(below.reshape(-1)[at]):g} and {float(above.reshape(-1)[at]):g}"
            raise UserError(f"bounds {ends}{which}: the first must be below the second, and both finite")
        self.scale = self.high - self.low

    def start(self, population: int, generator: Generator) -> Tensor:
        u = torch.rand(population, self.genes, generator=generator, dtype=torch.float64)
        return u.mul_(self.scale).add_(self.low)

    def keep(self, children: Tensor) -> Tensor:
        return children.clamp_(self.low, self.high)


class Around(Space):
    """Real numbers without bounds: normal around a centre [G] at the start, the first candidate the centre itself.

    spread [G], or one number for all, is their standard deviation and the scale of mutations.
    """

    crossover, mutation = "uniform", "gaussian"

    def __init__(self, centre: Tensor, spread: Tensor | float) -> None:
        self.genes, self.centre = _several(centre.numel()), centre
        self.scale = torch.as_tensor(spread, dtype=centre.dtype)

    def start(self, population: int, generator: Generator) -> Tensor:
        noise = torch.randn(population, self.genes, generator=generator, dtype=self.centre.dtype)
        noise[0] = 0
        return noise.mul_(self.scale).add_(self.centre)


def _several(genes: int) -> int:
    if genes < 1:
        raise UserError(f"{genes} genes: a candidate has at least one")
    return genes
