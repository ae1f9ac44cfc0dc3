"""Genetic algorithm: every candidate is scored, the poor are discarded; no gradient is asked for (Holland 1975)."""

from __future__ import annotations

from collections.abc import Callable
from math import pi
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from lamina.reproduce.claim import Claim, Figure, Plan, Tell, Tier, digits3
from lamina.reproduce.picture import Axis, Chart, Line, draw, ink
from lamina.train.genetic import Around, Genetic, evolve
from lamina.train.genetic.evolve import reseeded

__all__ = ["CLAIM"]

GRADIENT = 3  # evaluations that a step of gradient descent counts as: forward, and twice as much backward


def plan(tier: Tier) -> Plan:
    settings: dict[str, Any] = {
        "points": 256, "noise": 0.15, "units": 16, "level": 0.05, "evaluations": 20_000 if tier == "ci" else 100_000,
        "gradient": {"lr": 0.1},
        "genetic": {"population": 100, "crossover": "uniform", "mutation": "gaussian:sigma=1,rate=0.03", "elites": 2},
    }  # fmt: skip
    budget = settings["evaluations"]
    figures = (
        Figure("smooth", "smooth loss: evaluations to 0.05, genetic / gradient", "x", least=10.0),
        Figure("steps", f"step units: wrong after {budget:,} evaluations, genetic / gradient", below=0.5),
        Figure("wrong", "step units, genetic: points on the wrong side", "%"),
        Figure("stuck", "step units, gradient: points on the wrong side", "%"),
        Figure("discarded", "candidates of a generation that have no child", "%"),
    )
    note = (
        "A network of 2-16-1 units parts two half circles of 256 points. Smooth: tanh units and cross-entropy. Steps: "
        "sign units and the share of points on the wrong side, whose gradient is 0 almost everywhere. A step of Adam "
        f"counts as {GRADIENT} evaluations. Where the genetic algorithm does not come to the level, its budget stands."
    )
    return Plan((0, 1) if tier == "ci" else (0, 1, 2, 3, 4), settings, figures, note)


def trial(settings: dict[str, Any], seed: int, folder: Path, tell: Tell) -> dict[str, Any]:
    """One seed: both objectives, each by gradient descent and by the genetic algorithm, from the same first weights."""
    x, side = half_circles(settings["points"], settings["noise"], Generator().manual_seed(seed))
    units, budget = settings["units"], settings["evaluations"]
    first = torch.randn(4 * units + 1, generator=Generator().manual_seed(2 * seed + 1))
    curves: dict[str, dict[str, list[list[float]]]] = {}
    discarded = 0.0
    for at, (name, objective) in enumerate((("smooth", cross_entropy), ("steps", wrong_side))):

        def loss(weights: Tensor, objective: Callable[..., Tensor] = objective) -> Tensor:
            return objective(weights, x, side, units)

        tell(f"{name}: gradient", 2 * at, 4)
        curves[name] = {"gradient": _descend(loss, first, budget, settings["gradient"]["lr"])}
        tell(f"{name}: genetic", 2 * at + 1, 4)
        curves[name]["genetic"], discarded = _evolve(loss, first, budget, settings["genetic"], seed)
    level, smooth = settings["level"], curves["smooth"]
    needed = {who: next((n for n, value in smooth[who] if value <= level), None) for who in smooth}
    wrong, stuck = (curves["steps"][who][-1][1] for who in ("genetic", "gradient"))
    return {
        "figures": {
            "smooth": None if needed["gradient"] is None else (needed["genetic"] or budget) / needed["gradient"],
            "steps": wrong / stuck if stuck else None,
            "wrong": 100 * wrong,
            "stuck": 100 * stuck,
            "discarded": 100 * discarded,
        },
        "needed": needed,
        "curves": {name: {who: _thinned(curve) for who, curve in both.items()} for name, both in curves.items()},
        "data": None,
    }


def half_circles(n: int, noise: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Points [n,2] of two half circles that reach into each other, about 0, and their sides [n], 1 or -1."""
    side = torch.arange(n) % 2 * 2.0 - 1
    angle = pi * torch.rand(n, generator=generator)
    points = torch.stack([angle.cos() - 0.5 * side, side * (0.25 - angle.sin())], 1)
    return points + noise * torch.randn(n, 2, generator=generator), side


def _told(weights: Tensor, x: Tensor, units: int, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """What networks 2-units-1 of weights [P, 4 units + 1] say of points [n,2]: [P,n]."""
    into, bias, out, last = weights.split([2 * units, units, units, 1], 1)
    hidden = activation(x @ into.view(-1, 2, units) + bias[:, None])
    return (hidden @ out[:, :, None]).squeeze(2) + last


def cross_entropy(weights: Tensor, x: Tensor, side: Tensor, units: int) -> Tensor:
    """The smooth objective: the mean cross-entropy of a network of tanh units, [P]."""
    return F.softplus(-side * _told(weights, x, units, torch.tanh)).mean(1)


def wrong_side(weights: Tensor, x: Tensor, side: Tensor, units: int) -> Tensor:
    """The other: the share of points on the wrong side of a network of sign units, [P]; its gradient is 0."""
    return (1 - side * _told(weights, x, units, torch.sign).sign()).mean(1) / 2


def _descend(loss: Callable[[Tensor], Tensor], first: Tensor, budget: int, lr: float) -> list[list[float]]:
    """Adam: [evaluations, loss] before every step and at the end."""
    weights = first.clone()[None].requires_grad_()
    optimizer = torch.optim.Adam([weights], lr)
    curve = []
    for step in range(budget // GRADIENT):
        value = loss(weights)
        optimizer.zero_grad()
        value.sum().backward()
        curve.append([GRADIENT * step + 1, float(value.detach())])
        optimizer.step()
    with torch.no_grad():
        return [*curve, [budget, float(loss(weights))]]


def _evolve(
    loss: Callable[[Tensor], Tensor], first: Tensor, budget: int, settings: dict[str, Any], seed: int
) -> tuple[list[list[float]], float]:
    """The genetic algorithm: [evaluations, best loss] of every generation, and the mean share without a child."""
    genetic = Genetic(**settings)
    P, each = genetic.population, genetic.population - genetic.elites
    space, generator, childless = Around(first, 1.0), Generator(), []
    breeder = genetic.breeder(space)

    def count(at: int, population: Tensor, scores: Tensor) -> None:
        # the first numbers of a generation choose its parents
        parents = breeder.select(scores, each + each % 2, reseeded(generator, seed, at + 1))
        kept = torch.cat([parents, breeder.kept(scores)])
        childless.append(1 - len(kept.unique()) / P)

    found = evolve(loss, space, (budget - P) // each, genetic, seed=seed, minimise=True, on_generation=count)
    curve = [[P + at * each, value] for at, value in enumerate(found.course.best)]
    return curve, sum(childless) / len(childless)


def _thinned(curve: list[list[float]], points: int = 120) -> list[list[float]]:
    """A curve at evenly spaced logarithms of its first numbers."""
    wanted = torch.logspace(0, torch.tensor(curve[-1][0]).log10().item(), points).tolist()
    kept, at = [], 0
    for most in wanted:
        while at < len(curve) - 1 and curve[at][0] < most:
            at += 1
        if not kept or curve[at] != kept[-1]:
            kept.append(curve[at])
    return kept


def picture(record: dict[str, Any], trials: list[dict[str, Any]]) -> str:
    found = {f["key"]: f for f in record["figures"]}
    ratio, wrong, stuck = (digits3(found[key]["ours"]) for key in ("smooth", "wrong", "stuck"))
    if found["smooth"]["met"] and found["steps"]["met"]:
        answer = (
            f"On a smooth loss a gradient needs {ratio} times fewer evaluations; "
            f"where it is 0, only selection learns ({wrong} % wrong, not {stuck} %)"
        )
    else:
        answer = (
            f"Evaluations on a smooth loss, genetic to gradient: {ratio}; wrong on steps {wrong} %, gradient {stuck} %"
        )
    colours = {"gradient": ink("dense"), "genetic": ""}
    budget, level = record["settings"]["evaluations"], record["settings"]["level"]

    def chart(name: str, y: Axis, rules: tuple[tuple[float, str], ...], scale: float = 1.0) -> Chart:
        lines = []
        for who, colour in colours.items():
            for i, one in enumerate(trials):
                curve = one["curves"][name][who]
                lines.append(
                    Line(
                        [n for n, _ in curve],
                        [scale * v for _, v in curve],
                        colour,
                        who if i == 0 else "",
                        who == "gradient",
                    )
                )
        return Chart(lines, Axis("evaluations (log)", log=True, low=1, high=budget), y, rules, height=250)

    parts = [
        chart("smooth", Axis("smooth: cross-entropy (log)", log=True, low=0.005), ((level, f"level {level:g}"),)),
        chart("steps", Axis("steps: points on the wrong side, %", low=0), (), 100.0),
    ]
    note = (
        "Each line a seed; genetic: the best of its generation. Two half circles, a network of 2-16-1 units, the same "
        f"first weights. A step of Adam counts as {GRADIENT} evaluations. In each generation "
        f"{digits3(found['discarded']['ours'])} % of the candidates have no child."
    )
    return draw(answer, note, parts)


CLAIM = Claim(
    name="genetic",
    structure="genetic",
    source="Holland 1975, Adaptation in Natural and Artificial Systems; Goldberg 1989, Genetic Algorithms",
    says="Every candidate is scored by a fitness function and the poor are discarded; no gradient is asked for.",
    paper="no figure: the fitness need not be differentiable, and where it is, a gradient is much quicker (p)",
    plan=plan,
    trial=trial,
    picture=picture,
)
