"""Fitness: the scores of a population, and what is said of a function that does not give them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from lamina.core.config import UserError

__all__ = ["Fitness", "OneByOne", "Scorer", "one_by_one"]

Fitness = Callable[[Tensor], Any]
"""A whole population [P,G] -> a score for each: a tensor [P], an array or a list of numbers."""


@dataclass(frozen=True)
class OneByOne:
    """A function of one candidate [G] -> a number, as a fitness of the whole population."""

    function: Callable[[Tensor], Any]

    def __call__(self, population: Tensor) -> list[float]:
        return [float(self.function(candidate)) for candidate in population]


def one_by_one(function: Callable[[Tensor], Any]) -> OneByOne:
    """Marks a fitness that takes one candidate [G] and gives a number:

    @one_by_one
    def score(bits): ...
    """
    return OneByOne(function)


@dataclass(frozen=True)
class Scorer:
    """Scores of which the larger is the better, float64: the fitness, or its negative where the least is sought.

    UserError where the fitness raises, or gives anything but a finite number for each candidate; it names the
    generation (0 is the first population) and, where it can be told, the candidate (from 0).
    """

    fitness: Fitness
    minimise: bool = False

    def __call__(self, population: Tensor, generation: int) -> Tensor:
        try:
            found = self.fitness(population)
        except Exception as error:
            who = _culprit(self.fitness, population)
            said = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
            raise UserError(f"generation {generation}, {who}: the fitness raises {said}") from error
        try:
            scores = torch.as_tensor(found)
        except (TypeError, ValueError, RuntimeError):
            scores = None
        if scores is None or scores.is_complex():
            kind = type(found).__name__ if scores is None else "complex numbers"
            raise UserError(f"generation {generation}: the fitness gives {kind}, not a number for each candidate")
        if scores.shape != population.shape[:1]:
            raise UserError(
                f"generation {generation}: the fitness gives shape {list(scores.shape)} for a population of shape "
                f"{list(population.shape)}, not [{len(population)}]; mark a function of one candidate with "
                "@lamina.train.genetic.one_by_one"
            )
        scores = scores.detach().to("cpu", torch.float64)
        least, most = scores.aminmax()  # NaN comes through
        if not isfinite(least) or not isfinite(most):
            at = int((~scores.isfinite()).nonzero()[0])
            raise UserError(
                f"generation {generation}, candidate {at}: the fitness is {float(scores[at])}; give a finite number, "
                f"a very {'large' if self.minimise else 'small'} one to what is not allowed"
            )
        return -scores if self.minimise else scores


def _culprit(fitness: Fitness, population: Tensor) -> str:
    """The first candidate for whom, alone, the fitness raises too."""
    for at in range(len(population)):
        try:
            fitness(population[at : at + 1])
        except Exception:
            return f"candidate {at}"
    return f"all {len(population)} candidates at once"
