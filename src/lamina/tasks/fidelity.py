"""How samples compare with real examples: Frechet distance, precision and recall, density and coverage.

All take feature vectors, whatever they are features of: [N,F] of real examples and [M,F] of samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.core import UserError

__all__ = ["density_coverage", "frechet", "nearest", "precision_recall", "radii"]

ROWS = 1024  # whose distances are held at once


def frechet(real: Tensor, made: Tensor) -> float:
    """The Frechet distance of the Gaussians of their means and covariances (Dowson & Landau 1982; Heusel et al. 2017).

        |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)),    tr (C C')^(1/2) = sum of sqrt(eigenvalues of C^(1/2) C' C^(1/2))

    Of two finite samples of one distribution it is above 0, and the more so the fewer they are: compare at equal sizes.
    """
    _several(2, real=real, samples=made)
    (mean, cov), (mean2, cov2) = _moments(real), _moments(made)
    values, vectors = torch.linalg.eigh(cov)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    product = root @ cov2 @ root
    cross = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt().sum()
    found = (mean - mean2).square().sum() + cov.trace() + cov2.trace() - 2 * cross
    return max(0.0, float(found))


def precision_recall(real: Tensor, made: Tensor, k: int = 3) -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al. 2019, arXiv:1904.06991), both 0..1.

    Precision: the share of samples that lie in a ball around a real example, whose radius is the distance to its k-th
    nearest other one. Recall: the share of real examples that lie in such a ball around a sample.
    """
    _several(k + 1, real=real, samples=made)
    return _inside(made, real, k), _inside(real, made, k)


def density_coverage(real: Tensor, made: Tensor, k: int = 5) -> tuple[float, float]:
    """Density and coverage (Naeem et al. 2020, arXiv:2002.09797): the balls are those around real examples alone.

    Density: in how many balls a sample lies, over k; about 1 where samples are as real ones, and it may be more.
    Coverage: the share of balls with a sample in them, 0..1: what collapse lowers.
    """
    _several(k + 1, real=real)
    _several(1, samples=made)
    reach = radii(real, k)
    balls, within = torch.zeros((), dtype=torch.int64), torch.zeros(len(real), dtype=torch.bool)
    for some in made.split(ROWS):
        inside = torch.cdist(some, real) <= reach
        balls += inside.sum().cpu()
        within |= inside.any(0).cpu()
    return float(balls) / (k * len(made)), float(within.float().mean())


def nearest(x: Tensor, others: Tensor, k: int = 1) -> Tensor:
    """The Euclidean distance of each row of x [N,F] to its k-th nearest of the others [M,F]: [N]."""
    _several(k, others=others)
    return torch.cat([torch.cdist(some, others).kthvalue(k, 1).values for some in x.split(ROWS)])


def radii(x: Tensor, k: int) -> Tensor:
    """The distance of each row to its k-th nearest other row: [N,F] -> [N]."""
    return nearest(x, x, k + 1)  # itself is the first


def _inside(x: Tensor, centres: Tensor, k: int) -> float:
    """The share of x in one of the balls around the centres."""
    reach = radii(centres, k)
    found = [(torch.cdist(some, centres) <= reach).any(1) for some in x.split(ROWS)]
    return float(torch.cat(found).float().mean())


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    return features.double().mean(0), torch.cov(features.double().T).reshape(features.shape[1], -1)


def _several(least: int, **parts: Tensor) -> None:
    for name, part in parts.items():
        if len(part) < least:
            raise UserError(f"{name}: {len(part)} is too few; give at least {least}")
