"""The budget: a structure's width, solved so that its weights, stem and head included, meet a given number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from lamina import models
from lamina.core.config import UserError
from lamina.core.cost import params
from lamina.data import DataSet
from lamina.models import Knob, Model
from lamina.tasks import divided
from lamina.train import Order

__all__ = ["LIMIT", "TOLERANCE", "Solved", "count", "solve"]

TOLERANCE = 0.02  # what is aimed at
LIMIT = 0.05  # beyond it a structure cannot meet the budget
LARGEST = 2.0**20  # times a model's own size


@dataclass(frozen=True)
class Solved:
    """A model's keys, the weights that it then has, and how far from the budget they are: -0.01 is 1 % below."""

    keys: dict[str, Any]
    params: int
    off: float

    @property
    def feasible(self) -> bool:
        return abs(self.off) <= LIMIT

    def required(self, name: str, budget: int) -> Solved:
        """Itself, or a UserError where no width comes within 5 % of the budget."""
        if not self.feasible:
            raise UserError(f"{name}: {self.reason(budget)}; choose another budget or set its keys yourself")
        return self

    def reason(self, budget: int) -> str:
        """Why it does not fit, in words."""
        side = "over" if self.off > 0 else "below"
        return f"no width meets {budget:,} weights; the nearest has {self.params:,}, {abs(self.off):,.1%} {side} it"


def count(name: str, keys: dict[str, Any], dataset: DataSet, taps: int = 0) -> int:
    """Weights of a model with its stem and head around it, counted without making them (on the meta device).

    Raises CannotTake where the structure cannot take the data.
    """
    with torch.device("meta"):
        return params(Order(name, keys, dataset.name, taps=taps).alone().build(dataset))


def solve(name: str, dataset: DataSet, budget: int, fixed: dict[str, Any] | None = None, taps: int = 0) -> Solved:
    """The keys with which a model comes nearest to `budget` weights on that data.

    First all of the model's knobs grow or shrink together, so that it keeps its proportions; then its last, finest knob
    alone takes up the rest, for the coarse sizes found and their neighbours. Within the tolerance the best-proportioned
    size wins, otherwise the nearest. fixed: keys that stay as they are. taps: of a short convolution behind
    the stem. Always gives a Solved; see `feasible`.
    """
    row = models.find(name)
    return _Search(row, dataset, budget, dict(fixed or {}), taps).solve()


class _Search:
    def __init__(self, row: Model, dataset: DataSet, budget: int, fixed: dict[str, Any], taps: int) -> None:
        self.row, self.dataset, self.budget, self.fixed, self.taps = row, dataset, budget, fixed, taps
        own, _ = divided(fixed, dataset, row)
        config = row.config_of(own).of(own, row.name)
        # a variant of fixed sizes has no such keys
        self.knobs = [k for k in row.knobs if k.key not in fixed and k.key in type(config).model_fields]
        # a knob without a value of its own, such as d_ff = 4 * d_model, follows the others
        self.own = {k.key: getattr(config, k.key) for k in self.knobs if getattr(config, k.key) is not None}
        self.known: dict[tuple[tuple[str, Any], ...], int] = {}

    def solve(self) -> Solved:
        if not self.knobs:
            return self._solved({})
        scale = _largest(lambda s: self._count(self._scaled(s)) <= self.budget)
        at, fine = self._scaled(scale), self.knobs[-1]
        coarse = self.knobs[:-1]
        best: tuple[tuple[bool, float, float], Solved] | None = None
        for sizes in self._near(at, coarse) if coarse else [at]:
            apart = abs(self._count(sizes) / self.budget - 1)  # what the finest knob has to take up
            for value in self._finest({k: v for k, v in sizes.items() if k != fine.key}, fine):
                found = self._solved({**sizes, fine.key: value})
                within = abs(found.off) <= TOLERANCE / 2
                rank = (not within, apart if within else abs(found.off), abs(found.off))
                if best is None or rank < best[0]:
                    best = (rank, found)
        assert best is not None
        return best[1]

    def _solved(self, sizes: dict[str, Any]) -> Solved:
        n = self._count(sizes)
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in sizes.items()}  # as a run's JSON has it
        return Solved({**self.fixed, **plain}, n, n / self.budget - 1)

    def _scaled(self, scale: float) -> dict[str, Any]:
        return {k.key: _moved(k, self.own[k.key], lambda v: v * scale) for k in self.knobs if k.key in self.own}

    def _near(self, at: dict[str, Any], coarse: list[Knob]) -> list[dict[str, Any]]:
        """The coarse sizes, and each one knob's step smaller or larger."""
        found = [at]
        for knob in coarse:
            if knob.key in at:
                moved = [_moved(knob, at[knob.key], lambda v, d=step * knob.multiple: v + d) for step in (1, -1)]
                found += [{**at, knob.key: value} for value in moved if value != at[knob.key]]
        return found

    def _finest(self, sizes: dict[str, Any], knob: Knob) -> list[int]:
        """The two values of the finest knob between which the budget lies."""

        def fits(value: float) -> bool:
            return self._count({**sizes, knob.key: _round(knob, value)}) <= self.budget

        below = _round(knob, _largest(fits, knob.least))
        return [below, below + knob.multiple]

    def _count(self, sizes: dict[str, Any]) -> int:
        key = tuple(sorted(sizes.items()))
        if key not in self.known:
            self.known[key] = count(self.row.name, {**self.fixed, **sizes}, self.dataset, self.taps)
        return self.known[key]


def _moved(knob: Knob, value: Any, move: Callable[[float], float]) -> Any:
    """A knob's value elsewhere, rounded; where it is a row of widths, each of them."""
    return tuple(_round(knob, move(v)) for v in value) if isinstance(value, tuple) else _round(knob, move(value))


def _round(knob: Knob, value: float) -> int:
    """The knob's nearest allowed value not above `value`, or its least."""
    return max(knob.least, int(value + 1e-9) // knob.multiple * knob.multiple)


def _largest(fits: Any, least: float = 1.0) -> float:
    """The largest number that fits, to 1 in 10,000, of those between least / LARGEST and least * LARGEST."""
    low, high = least / LARGEST, least
    if fits(least):
        low, high = least, 2 * least
        while high < least * LARGEST and fits(high):
            low, high = high, 2 * high
    while high / low > 1.0001:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
