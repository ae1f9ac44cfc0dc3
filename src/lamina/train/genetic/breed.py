"""Breeding: the settings of a genetic algorithm, and how one generation makes the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from lamina.core.config import UserError
from lamina.data.named import parse
from lamina.train.genetic.crossover import CROSSOVERS, Cross
from lamina.train.genetic.mutation import MUTATIONS, Mutate
from lamina.train.genetic.selection import SELECTIONS, Select
from lamina.train.genetic.space import Bits, Space

__all__ = ["Breeder", "Genetic"]

FOR_BITS, FOR_REALS = ("flip",), ("sbx", "gaussian", "polynomial")


@dataclass(frozen=True)
class Genetic:
    """The settings of a genetic algorithm (Holland 1975; Goldberg 1989).

    population: candidates. selection, crossover, mutation: names with their options, "tournament:size=2",
    "two_point:share=0.5", "flip:rate=0.05,share=0.2"; None for the usual one of the space. elites: the best so many go
    on unchanged.
    """

    population: int = 100
    selection: str = "tournament"
    crossover: str | None = None
    mutation: str | None = None
    elites: int = 1

    def __post_init__(self) -> None:
        if self.population < 2:
            raise UserError(f"population {self.population}: at least two are needed to have children")
        if not 0 <= self.elites < self.population:
            raise UserError(f"elites {self.elites} of a population of {self.population}; give fewer than there are")

    def breeder(self, space: Space) -> Breeder:
        """The operators made ready; UserError names an unknown one, and one that does not go with the genes."""
        crossover, mutation = self.crossover or space.crossover, self.mutation or space.mutation
        return Breeder(
            space,
            self.elites,
            _made(self.selection, SELECTIONS, "selection", space),
            _made(crossover, CROSSOVERS, "crossover", space),
            _made(mutation, MUTATIONS, "mutation", space),
        )


@dataclass(frozen=True)
class Breeder:
    """One generation from the last: the elites, then children of selected parents, crossed in pairs and mutated."""

    space: Space
    elites: int
    select: Select
    cross: Cross
    mutate: Mutate

    def children(self, population: Tensor, scores: Tensor, generator: Generator) -> Tensor:
        """Children [P - elites, G] of a population [P,G] with its scores [P], larger better."""
        n = len(population) - self.elites
        pairs = (n + 1) // 2
        parents = population.index_select(0, self.select(scores, 2 * pairs, generator))
        made = torch.cat(self.cross(parents[:pairs], parents[pairs:], generator))[:n]
        self.mutate(made, self.space.scale, generator)
        return self.space.keep(made)

    def kept(self, scores: Tensor) -> Tensor:
        """The places of the elites, the best first."""
        return scores.topk(self.elites).indices


def _made(text: str, known: dict[str, Callable[..., Any]], what: str, space: Space) -> Any:
    """The operator of that name with its options."""
    name, options = parse(text, known, what)
    bits = isinstance(space, Bits)
    if name in (FOR_REALS if bits else FOR_BITS):
        others = ", ".join(sorted(set(known) - set(FOR_REALS if bits else FOR_BITS)))
        raise UserError(f"{what} {name}: is not for {'bits' if bits else 'real numbers'}; take one of {others}")
    return known[name](**options)
