"""Claim: what a paper is known for, the experiment that shows it, and the rule that accepts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

__all__ = ["TIERS", "Claim", "Figure", "Part", "Plan", "Tell", "Tier", "digits3"]

Tier = Literal["ci", "full"]
TIERS: tuple[Tier, ...] = ("ci", "full")

Tell = Callable[[str, int, int], None]
"""Told of progress: what is being done, how much of it, of how much."""


@dataclass(frozen=True)
class Figure:
    """A number that a claim stands on, and its rule: `least` <= number, number <= `most`, `above` < number < `below`.

    A figure without a rule is reported only. The rule must hold for every seed, not for their mean.
    paper: the paper's own figure in words, "(p)" behind what is quoted from memory; None where it gives none.
    """

    key: str
    name: str
    unit: str = ""
    paper: str | None = None
    least: float | None = None
    most: float | None = None
    below: float | None = None
    above: float | None = None

    @property
    def accept(self) -> str | None:
        """The rule in words, None where there is none."""
        words = [
            f"{sign} {limit:,g}"
            for sign, limit in ((">=", self.least), ("<=", self.most), (">", self.above), ("<", self.below))
            if limit is not None
        ]
        return f"{' and '.join(words)} {self.unit}".strip() if words else None

    def meets(self, number: float | None) -> bool:
        """Whether one seed's number keeps the rule; a missing or infinite one never does."""
        if number is None or not isfinite(number):
            return False
        return (
            (self.least is None or number >= self.least)
            and (self.most is None or number <= self.most)
            and (self.below is None or number < self.below)
            and (self.above is None or number > self.above)
        )

    def judge(self, scores: list[float | None]) -> dict[str, Any]:
        """The figure over all seeds, as a record says it. met is None where there is no rule."""
        real = [s for s in scores if s is not None and isfinite(s)]
        whole = len(real) == len(scores)
        return {
            "key": self.key,
            "name": self.name,
            "unit": self.unit,
            "paper": self.paper,
            "ours": mean(real) if real and whole else None,
            "spread": stdev(real) if whole and len(real) > 1 else None,
            "scores": [s if s is not None and isfinite(s) else None for s in scores],
            "accept": self.accept,
            "met": None if self.accept is None else bool(scores) and all(self.meets(s) for s in scores),
        }


@dataclass(frozen=True)
class Part:
    """One of several things that a claim says: true when its figures keep their rules, false when one does not.

    figures: their keys, the one that tells most first; none: not measured at this tier.
    """

    name: str
    figures: tuple[str, ...] = ()

    def judge(self, judged: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Its verdict from the judged figures by key; "not measured" also where one of them has no number."""
        mine = [judged[key] for key in self.figures]
        measured = bool(mine) and all(figure["ours"] is not None for figure in mine)
        true = all(figure["met"] is not False for figure in mine)
        verdict = ("true" if true else "false") if measured else "not measured"
        return {"name": self.name, "verdict": verdict, "ours": mine[0]["ours"] if measured else None}


@dataclass(frozen=True)
class Plan:
    """One tier of a claim: its seeds, the settings of every seed (plain JSON), its figures with the headline first.

    note says in words what this tier runs, and how its rule differs from the full one. parts: where the claim says
    several things, each with a verdict of its own.
    """

    seeds: tuple[int, ...]
    settings: dict[str, Any]
    figures: tuple[Figure, ...]
    note: str
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A row of CLAIMS.

    plan(tier) may look at what data there is. trial(settings, seed, folder, tell) trains one seed and gives plain JSON
    with "figures": {key: number or None}; `folder` is for checkpoints and is removed after it. picture(record, trials)
    gives an SVG whose title is the answer. joint(trials), where there is one, gives the figures that are of all seeds
    together, such as the difference of two means.
    """

    name: str
    structure: str
    source: str
    says: str
    paper: str
    plan: Callable[[Tier], Plan]
    trial: Callable[[dict[str, Any], int, Path, Tell], dict[str, Any]]
    picture: Callable[[dict[str, Any], list[dict[str, Any]]], str]
    joint: Callable[[list[dict[str, Any]]], dict[str, float | None]] | None = None


def digits3(number: float | None, unit: str = "") -> str:
    """Three significant digits with the unit: "98.1 %", "0.00123", "61,706"; "no value" for None."""
    if number is None:
        return "no value"
    if number and abs(number) < 0.0001:
        text = f"{number:.2e}".replace("e-0", "e-")
    elif abs(number) >= 1000:
        text = f"{number:,.0f}"
    else:
        text = f"{number:.3g}"
    return f"{text} {unit}".strip()
