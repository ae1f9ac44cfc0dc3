"""Regression: numbers of an example, from its last real frame."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.core import Seq
from lamina.tasks.task import Batch, Metric, Task

__all__ = ["Regress"]


class Regress(Task):
    """Squared error of n_out numbers; y [B,n_out] float32. The metric is its mean, in the targets' units squared."""

    metric = Metric("mse", "lower")

    def pool(self, frames: Seq, batch: Batch) -> Tensor:
        if frames.dense:
            return frames.values[:, -1]
        rows = torch.arange(len(frames.mask), device=frames.mask.device)
        return frames.zeroed()[rows, (frames.lengths() - 1).clamp(min=0)]

    def criterion(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        y = batch["y"]
        return F.mse_loss(prediction, y, reduction="sum"), prediction.new_tensor(float(y.numel()))

    def each(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        errors = (prediction - batch["y"]).square().sum(1)
        return errors, torch.full_like(errors, self.n_out)
