"""Answers at the frames that ask: recall, copying, induction, state tracking."""

from __future__ import annotations

from torch import Tensor

from lamina.tasks.frames import PerFrame
from lamina.tasks.task import Batch, Metric

__all__ = ["Answer"]


class Answer(PerFrame):
    """The metric is the accuracy of the answers, 0..1."""

    metric = Metric("accuracy", "higher")

    def each(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.by_row((prediction.argmax(-1) == self.targets(batch)).float(), batch)
