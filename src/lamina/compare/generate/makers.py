"""The generators: a Gaussian, a genetic algorithm, a GAN and a diffusion model, each behind the same few lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from lamina import models
from lamina.compare.budget import count, solve
from lamina.compare.generate.gaussian import Gaussian
from lamina.compare.trial import step_seconds
from lamina.core.config import UserError
from lamina.core.cost import params
from lamina.data import DataSet
from lamina.tasks.parzen import SIGMAS, log_density
from lamina.train import Order, fit
from lamina.train.genetic import Genetic, Reals, evolve

__all__ = ["MAKERS", "Made", "Maker"]

Sample = Callable[[int, int], Tensor]
"""(how many, seed) -> images [n,C,H,W] in 0..1."""
Tell = Callable[[int, int], object]
"""Told of progress: steps done, of how many."""

NOISE_STEPS, SAMPLED = 200, 50  # of a diffusion model: few enough to learn in minutes; when sampling, by DDIM
BATCH = 128
SKIPPED, TIMED = 10, 40  # generations of the warm-up: the first wake threads and allocate


@dataclass(frozen=True)
class Made:
    """A generator that has learned: its samples, how many numbers it keeps, its seconds, what was said meanwhile."""

    sample: Sample
    weights: int
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Maker:
    """A way to make images. size(dataset, weights) gives the keys of that many weights; pace the seconds of a step of
    learning, 0 for none; learn takes so many steps with a seed.
    """

    name: str
    family: str
    paper: str
    year: int
    says: str
    size: Callable[[DataSet, int], dict[str, Any]]
    pace: Callable[[DataSet, dict[str, Any]], float]
    learn: Callable[[DataSet, dict[str, Any], int, int, Tell], Made]


def _gaussian(dataset: DataSet, keys: dict[str, Any], steps: int, seed: int, tell: Tell) -> Made:
    began = perf_counter()
    found = Gaussian(dataset)
    return Made(found.sample, found.weights, perf_counter() - began)


def _candidates(dataset: DataSet, weights: int) -> dict[str, Any]:
    """A population of images has no other numbers than the images."""
    return {"population": max(10, weights // prod(dataset.shape))}


def _fitness(dataset: DataSet) -> Callable[[Tensor], Tensor]:
    """The log-likelihood of a candidate under Parzen windows around training images; the dev part sets their width."""
    x, dev = dataset.train.x.flatten(1), dataset.dev.x.flatten(1)
    sigma = SIGMAS[int(log_density(x, dev[:500], SIGMAS).mean(1).argmax())]
    return lambda population: log_density(x, population.to(x.dtype), [sigma])[0]


def _generations(dataset: DataSet, keys: dict[str, Any], steps: int, seed: int, on: Any) -> Any:
    space = Reals(prod(dataset.shape), 0.0, 1.0)
    return evolve(_fitness(dataset), space, steps, Genetic(keys["population"]), seed=seed, on_generation=on)


def _genetic(dataset: DataSet, keys: dict[str, Any], steps: int, seed: int, tell: Tell) -> Made:
    """A population of images, of which the likely ones have children. Its samples are its last generation."""
    began = perf_counter()
    found = _generations(dataset, keys, steps, seed, lambda at, *_: tell(at, steps) and None)
    shape = dataset.shape

    def sample(n: int, seed: int) -> Tensor:
        rows = torch.randint(len(found.population), (n,), generator=torch.Generator().manual_seed(seed))
        return found.population[rows].float().reshape(n, *shape)

    return Made(sample, found.population.numel(), perf_counter() - began)


def _generation_seconds(dataset: DataSet, keys: dict[str, Any]) -> float:
    at: list[float] = []
    _generations(dataset, keys, SKIPPED + TIMED, 0, lambda *_: at.append(perf_counter()))
    return (at[-1] - at[SKIPPED]) / TIMED


def _sized(name: str, dataset: DataSet, weights: int, fixed: dict[str, Any]) -> dict[str, Any]:
    """The keys of a network of so many weights that makes images like these."""
    known = models.find(name).config_of(fixed).model_fields
    shape = {"d_in": dataset.shape[0], "size": dataset.shape[-1]}
    fixed = {**fixed, **{key: n for key, n in shape.items() if key in known}}
    return solve(name, dataset, weights, fixed).required(name, weights).keys


def _unet(dataset: DataSet, weights: int) -> dict[str, Any]:
    """Two levels where images are smaller than 16x16, else three: as wide as the weights allow, the time's layers take
    up the rest."""
    levels = 2 if dataset.shape[-1] < 16 else 3
    found, width = None, 4
    while True:
        fixed = {"noise_steps": NOISE_STEPS, "channels": [width << i for i in range(levels)]}
        size = {"d_in": dataset.shape[0], "size": dataset.shape[-1], "d_time": 4 * width}
        if found and count("ddpm", {**fixed, **size}, dataset) > weights:
            return _sized("ddpm", dataset, weights, found)
        found, width = fixed, width + 4


def _network(
    name: str, lr: float, how: dict[str, Any], dataset: DataSet, keys: dict[str, Any], steps: int, seed: int, tell: Tell
) -> Made:
    """A network that learns by gradients, and the moving average of its weights."""
    order = Order(name, keys, dataset.name, steps=steps, lr=lr, seed=seed, batch_size=BATCH, ema=0.995)
    task = order.build(dataset)
    history = fit(task, dataset, **order.training, on_step=lambda at, _: tell(at, steps) and None)
    if history.diverged:
        raise UserError(f"{name}: its loss was NaN or inf at step {len(history.loss)}")
    own = task.alone  # type: ignore[union-attr, attr-defined]
    own.eval()
    notes = tuple(f"step {at:,}: {words}" for at, words in history.notes)
    return Made(lambda n, seed: own.sample(n, seed=seed, **how), params(own), history.seconds, notes)


def _trained(name: str, lr: float, size: Any, says: str, how: dict[str, Any]) -> Maker:
    row = models.find(name)
    return Maker(
        name, row.family, row.paper, row.year, says,
        size,
        lambda dataset, keys: step_seconds(name, keys, dataset, BATCH)["step"],
        partial(_network, name, lr, how),
    )  # fmt: skip


MAKERS = {
    maker.name: maker
    for maker in (
        Maker(
            "gaussian", "dense", "The method of moments (Pearson)", 1894,
            "the mean and the covariance of the pixels, and nothing else", lambda *_: {}, lambda *_: 0.0, _gaussian,
        ),
        Maker(
            "genetic", "other", "Adaptation in natural and artificial systems (Holland)", 1975,
            "a population of images, each scored by its likelihood among the training images; the poor are discarded",
            _candidates, _generation_seconds, _genetic,
        ),
        _trained(
            "gan", 1e-3, partial(_sized, "gan", fixed={}),
            "a generator against a discriminator, the weights of both counted", {},
        ),
        _trained("ddpm", 2e-3, _unet, f"learns to take noise away; {SAMPLED} steps a sample", {"steps": SAMPLED}),
    )
}  # fmt: skip
