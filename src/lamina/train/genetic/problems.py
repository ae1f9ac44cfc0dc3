"""Problems with a known best: for learning, and for measuring a genetic algorithm by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import pi

from torch import Tensor

from lamina.train.genetic.fitness import Fitness
from lamina.train.genetic.space import Bits, Reals, Space

__all__ = ["PROBLEMS", "Problem", "onemax", "rastrigin", "sphere"]


@dataclass(frozen=True)
class Problem:
    """A fitness, the space it is of, how many genes are usual, and whether the least is sought."""

    fitness: Fitness
    space: Callable[[int], Space]
    genes: int
    minimise: bool


def onemax(bits: Tensor) -> Tensor:
    """The number of ones: [P,G] bool -> [P]."""
    return bits.sum(1)


def sphere(x: Tensor) -> Tensor:
    """The sum of the squares (De Jong 1975, F1): [P,G] -> [P]; 0 at 0."""
    return x.square().sum(1)


def rastrigin(x: Tensor) -> Tensor:
    """The sum of 10 + x^2 - 10 cos(2 pi x) (Rastrigin 1974): [P,G] -> [P]; 0 at 0, and a pit at every whole number."""
    # 10 - 10 cos(2 pi x) = 20 sin^2(pi x) = 20 (pi x sinc x)^2: nothing cancels near 0
    return (x.square() * (1 + 20 * pi**2 * x.sinc().square())).sum(1)


_REALS = partial(Reals, low=-5.12, high=5.12)
PROBLEMS: dict[str, Problem] = {
    "onemax": Problem(onemax, Bits, 100, False),
    "sphere": Problem(sphere, _REALS, 10, True),
    "rastrigin": Problem(rastrigin, _REALS, 10, True),
}
