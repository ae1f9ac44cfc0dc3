"""Questions about a text: where the answer begins and where it ends."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.core import Seq
from lamina.tasks.task import Batch, Metric, Task

__all__ = ["Span"]


class Span(Task):
    """Two numbers a token, and over the tokens of a row a softmax of each: p(begin = t), p(end = t) (Devlin et al.
    2018, arXiv:1810.04805, section 4.2). y [B,2] int64, the places of both.

    The loss is the mean of both cross-entropies. The answer is the span i <= j of the largest sum; the metric is the
    share of answers with both ends right.
    """

    metric = Metric("accuracy", "higher")

    def pool(self, frames: Seq, batch: Batch) -> Tensor:
        return frames.zeroed().flatten(0, 1)

    def criterion(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        ends, y = self._ends(prediction, batch), batch["y"]
        loss = F.cross_entropy(ends.flatten(0, 1), y.flatten(), reduction="sum")
        return loss, prediction.new_tensor(float(y.numel()))

    def each(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        begin, end = self._ends(prediction, batch).unbind(1)
        frames = begin.shape[1]
        ordered = torch.ones(frames, frames, dtype=torch.bool, device=begin.device).triu()
        sums = (begin[:, :, None] + end[:, None]).masked_fill(~ordered, float("-inf")).flatten(1)
        best = sums.argmax(1)
        found = torch.stack([best // frames, best % frames], 1)
        right = (found == batch["y"]).all(1).to(begin.dtype)
        return right, torch.ones_like(right)

    @staticmethod
    def _ends(prediction: Tensor, batch: Batch) -> Tensor:
        """[B*T,2] -> logits [B,2,T], none at absent frames."""
        rows, frames = batch["x"].shape
        real = torch.arange(frames, device=prediction.device) < batch["lengths"][:, None]
        return prediction.view(rows, frames, 2).transpose(1, 2).masked_fill(~real[:, None], float("-inf"))
