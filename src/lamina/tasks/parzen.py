"""Parzen windows: the log-likelihood of real examples under samples alone, as the GAN's paper measured it (2014)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, pi, sqrt

import torch
from torch import Tensor

from lamina.core import UserError

__all__ = ["SIGMAS", "Parzen", "log_density", "parzen"]

SIGMAS = tuple(0.05 * 20 ** (i / 24) for i in range(25))  # 0.05 to 1, each 13 % above the one before
ROWS = 256  # examples at once


@dataclass(frozen=True)
class Parzen:
    """The mean log-likelihood of the test part in nats, its standard error, and the windows' width."""

    mean: float
    error: float
    sigma: float


def parzen(samples: Tensor, dev: Tensor, test: Tensor, sigmas: Sequence[float] = SIGMAS) -> Parzen:
    """The likelihood of `test` under Gaussian windows around samples, of the width that suits `dev` best.

        log p(x) = log (1/n) sum_i N(x; s_i, sigma^2 I)

    samples, dev, test: [*,...] of one shape, images in 0..1, flattened here. The estimate says little in many
    dimensions (Theis et al. 2016): it is here because the paper's table is of it.
    """
    if not sigmas:
        raise UserError("sigmas: none given; give at least one width")
    on_dev = log_density(samples, dev, sigmas).mean(1)
    sigma = sigmas[int(on_dev.argmax())]
    found = log_density(samples, test, [sigma])[0]
    error = float(found.std()) / sqrt(len(found)) if len(found) > 1 else float("nan")
    return Parzen(float(found.mean()), error, sigma)


def log_density(samples: Tensor, x: Tensor, sigmas: Sequence[float]) -> Tensor:
    """log p of each row of x under the windows of each width: samples [n,*C], x [N,*C] -> [widths,N], nats, float64."""
    if samples.shape[1:] != x.shape[1:] or not len(samples) or not len(x):
        raise UserError(f"samples {list(samples.shape)} do not fit examples {list(x.shape)}; give rows of one shape")
    centres, found = samples.flatten(1).double(), []
    n, d = centres.shape
    for rows in x.flatten(1).double().split(ROWS):
        far = torch.cdist(rows, centres).square()
        each = [torch.logsumexp(far / (-2 * s * s), 1) - log(n) - d / 2 * log(2 * pi * s * s) for s in sigmas]
        found.append(torch.stack(each))
    return torch.cat(found, 1)
