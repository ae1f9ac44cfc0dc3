"""Language modelling over bytes: the next byte at every frame."""

from __future__ import annotations

from math import log

from torch import Tensor
from torch.nn import functional as F

from lamina.tasks.frames import PerFrame
from lamina.tasks.task import Batch, Metric

__all__ = ["LanguageModel"]


class LanguageModel(PerFrame):
    """The metric is bits per byte: the cross-entropy in bits, its mean over the bytes told.

    Only causal structures are put into it (`make`): who sees the next byte has no need to tell it.
    """

    metric = Metric("bits per byte", "lower")

    def each(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        nats = F.cross_entropy(prediction, self.targets(batch), reduction="none")
        return self.by_row(nats / log(2), batch)
