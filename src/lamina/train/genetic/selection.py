"""Selection: who has children. Every rule draws all parents of a generation at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from lamina.core.config import UserError

__all__ = ["SELECTIONS", "Select", "rank", "roulette", "tournament"]

Select = Callable[[Tensor, int, Generator], Tensor]
"""(scores [P], larger is better; how many; random numbers) -> their places in the population [n] int64."""


def tournament(size: int = 3) -> Select:
    """The best of `size` drawn with replacement: the r-th from below wins with (r^size - (r-1)^size) / P^size
    (Goldberg & Deb 1991). Only the order of the scores counts.
    """
    if size < 1:
        raise UserError(f"tournament: size={size} must be at least 1")

    def select(scores: Tensor, n: int, generator: Generator) -> Tensor:
        drawn = torch.randint(len(scores), (n, size), generator=generator)
        return drawn.gather(1, scores.take(drawn).argmax(1, keepdim=True)).squeeze(1)

    return select


def roulette() -> Select:
    """With a chance proportional to the score (Holland 1975), measured from 0, or from the worst where that is below.

    So the worst of a population with scores below 0 has no children. Where all are 0 everyone has the same chance.
    """

    def select(scores: Tensor, n: int, generator: Generator) -> Tensor:
        return _by_chance(scores - scores.min().clamp(max=0), n, generator)

    return select


def rank(pressure: float = 1.8) -> Select:
    """Linear ranking (Baker 1985): the best has `pressure` children on average (1 to 2), the worst 2 - pressure, and in
    between it grows evenly with the rank; equal scores rank as they stand in the population.
    """
    if not 1 <= pressure <= 2:
        raise UserError(f"rank: pressure={pressure:g} must lie between 1 and 2")

    def select(scores: Tensor, n: int, generator: Generator) -> Tensor:
        chances = torch.linspace(2 - pressure, pressure, len(scores), dtype=scores.dtype)
        return scores.argsort()[_by_chance(chances, n, generator)]

    return select


def _by_chance(weights: Tensor, n: int, generator: Generator) -> Tensor:
    """n places, each with a chance proportional to its weight; equal chances where all weights are 0."""
    wheel = weights.cumsum(0)
    if wheel[-1] <= 0:
        return torch.randint(len(weights), (n,), generator=generator)
    u = torch.rand(n, generator=generator, dtype=wheel.dtype)
    # right: a place of no width is never hit; rounding may put u at the wheel's very end
    return torch.searchsorted(wheel, u * wheel[-1], right=True).clamp(max=int(weights.nonzero()[-1]))


SELECTIONS: dict[str, Callable[..., Select]] = {"tournament": tournament, "roulette": roulette, "rank": rank}
