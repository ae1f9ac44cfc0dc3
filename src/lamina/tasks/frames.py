"""PerFrame: a class at some frames of a sequence of tokens, as the target of each frame says."""

from __future__ import annotations

from abc import ABC

from torch import Tensor
from torch.nn import functional as F

from lamina.core import Seq
from lamina.data import NOT_ASKED
from lamina.tasks.task import Batch, Task

__all__ = ["PerFrame"]


class PerFrame(Task, ABC):
    """Cross-entropy over n_out classes at the frames that are asked; y [B,T], NOT_ASKED elsewhere and in the padding.

    An answer is an asked frame, row by row: the head computes these A frames only, which for recall are few.
    """

    def pool(self, frames: Seq, batch: Batch) -> Tensor:
        asked = self.asked(batch)
        return frames.values.flatten(0, 1) if asked.all() else frames.values[asked]

    def criterion(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        loss = F.cross_entropy(prediction, self.targets(batch), reduction="sum")
        return loss, prediction.new_tensor(float(len(prediction)))

    def asked(self, batch: Batch) -> Tensor:
        """The frames whose answer is due, [B,T]."""
        return batch["y"] != NOT_ASKED

    def targets(self, batch: Batch) -> Tensor:
        """The classes of the asked frames, [A] int64."""
        return batch["y"][self.asked(batch)].long()

    def by_row(self, values: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """A number an answer [A] as its sums over the rows, and how many each row has; both [B]."""
        asked = self.asked(batch)
        rows = values.new_zeros(asked.shape).masked_scatter(asked, values)
        return rows.sum(1), asked.sum(1).to(values.dtype)
