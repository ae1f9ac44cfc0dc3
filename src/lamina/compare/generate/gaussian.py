"""The Gaussian of a data set's images: what every generator has to beat."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.data import DataSet

__all__ = ["Gaussian"]


class Gaussian:
    """The mean and the covariance of the training images; samples are cut to 0..1.

    weights: the numbers that it keeps, d + d (d + 1) / 2 for d pixels.
    """

    def __init__(self, dataset: DataSet) -> None:
        x = dataset.train.x.flatten(1).double()
        values, vectors = torch.linalg.eigh(torch.cov(x.T))
        self.mean, self.root, self.shape = x.mean(0), values.clamp(min=0).sqrt()[:, None] * vectors.T, dataset.shape
        d = len(self.mean)
        self.weights = d + d * (d + 1) // 2

    def sample(self, n: int, seed: int) -> Tensor:
        """n images [n,C,H,W]."""
        noise = torch.randn(n, len(self.mean), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return (self.mean + noise @ self.root).clamp(0, 1).float().unflatten(1, self.shape)
