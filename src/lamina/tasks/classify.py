"""Classification: one class an example, from the mean of the real frames."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.core import Seq
from lamina.tasks.task import Batch, Metric, Task

__all__ = ["Classify"]


class Classify(Task):
    """Cross-entropy over n_out classes; y [B] int64. The metric is accuracy, 0..1."""

    metric = Metric("accuracy", "higher")

    def pool(self, frames: Seq, batch: Batch) -> Tensor:
        if frames.dense:
            return frames.values.mean(1)
        return frames.zeroed().sum(1) / frames.lengths().clamp(min=1)[:, None]

    def criterion(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        y = batch["y"]
        return F.cross_entropy(prediction, y, reduction="sum"), prediction.new_tensor(float(len(y)))

    def each(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        right = (prediction.argmax(-1) == batch["y"]).float()
        return right, torch.ones_like(right)
