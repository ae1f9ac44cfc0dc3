"""Both ideas on one plane: noise that is taken away beside a population that is scored, towards the same points."""

from __future__ import annotations

from math import cos, pi, sin
from typing import Any

import torch
from torch import Tensor

from lamina.tasks.diffusion import Schedule
from lamina.train.genetic import Genetic, Reals, evolve

__all__ = ["CENTRES", "WIDTH", "both", "log_p"]

CENTRES = tuple((2 * cos(2 * pi * i / 8), 2 * sin(2 * pi * i / 8)) for i in range(8))  # eight Gaussians on a ring
WIDTH = 0.15  # their standard deviation
POINTS, FRAMES, STEPS = 240, 25, 200
EDGE = 4.0  # of the plane


def both(seed: int = 0) -> dict[str, Any]:
    """For the page: frames of points [POINTS,2] on their way, by diffusion and by the genetic algorithm.

    The denoiser is not a trained one but the exact one: the mean of the noise, given the noised point, which is what a
    network is asked to learn. Neither its steps nor its end are scored. The population's fitness is log p; in `lost`
    stand the points of each generation of which none was chosen or kept.
    """
    return {
        "centres": [list(c) for c in CENTRES], "width": WIDTH, "edge": EDGE,
        "diffusion": _diffusion(seed), **_population(seed),
    }  # fmt: skip


def log_p(x: Tensor) -> Tensor:
    """The log density of eight Gaussians of equal weight: [N,2] -> [N]."""
    centres = x.new_tensor(CENTRES)
    far = torch.cdist(x, centres).square()
    return torch.logsumexp(-far / (2 * WIDTH**2), 1) - torch.tensor(8 * 2 * pi * WIDTH**2).log()


def denoised(x: Tensor, kept: float) -> Tensor:
    """E[x_0 | x_t = x] for this density: [N,2], kept = abar_t.

    A noised Gaussian N(c, s^2) is N(sqrt(abar) c, abar s^2 + 1 - abar); of each, the mean of x_0 is linear in x, and
    they count by how likely they are.
    """
    centres, root = x.new_tensor(CENTRES), kept**0.5
    spread = kept * WIDTH**2 + 1 - kept
    share = (-torch.cdist(x, root * centres).square() / (2 * spread)).softmax(1)  # [N,8]
    pull = root * WIDTH**2 / spread
    return share @ centres * (1 - pull * root) + pull * x


def _diffusion(seed: int) -> list[list[list[float]]]:
    schedule, generator = Schedule.cosine(STEPS), torch.Generator().manual_seed(seed)
    x = torch.randn(POINTS, 2, generator=generator, dtype=torch.float64)
    frames, shown = [x], {round(i * (STEPS - 1) / (FRAMES - 1)) for i in range(1, FRAMES)}
    for done in range(STEPS):
        t = STEPS - 1 - done
        noise = torch.randn(POINTS, 2, generator=generator, dtype=torch.float64)
        x0 = denoised(x, float(schedule.kept[t + 1]))
        x = schedule.ancestral(x, x0, t, t - 1, noise if t else torch.zeros_like(x))
        if done in shown:
            frames.append(x)
    return [_rounded(frame) for frame in frames]


def _population(seed: int) -> dict[str, Any]:
    frames: list[Tensor] = []
    scores: list[Tensor] = []

    def keep(generation: int, population: Tensor, scored: Tensor) -> None:
        frames.append(population)
        scores.append(scored)

    evolve(log_p, Reals(2, -EDGE, EDGE), FRAMES - 1, Genetic(POINTS), seed=seed, on_generation=keep)
    worst = [(s < s.median()).nonzero()[:, 0].tolist() for s in scores]
    return {"genetic": [_rounded(frame) for frame in frames], "worse": worst}


def _rounded(points: Tensor) -> list[list[float]]:
    return [[round(x, 2), round(y, 2)] for x, y in points.tolist()]
