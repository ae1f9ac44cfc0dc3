"""The average of the weights on the way, kept in place of the last ones (Polyak & Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, Self

import torch
from torch import Tensor

from lamina.core import UserError
from lamina.tasks.task import Batch, Task
from lamina.tasks.wrapped import Wrapped

__all__ = ["Averaged"]


class Averaged(Wrapped):
    """A task that is scored with an exponential moving average of its weights, and ends with it.

        a <- a + (1 - d_t) (w - a) after update t = 0, 1, ...,    d_t = min(decay, (1 + t) / (10 + t))

    In training it is the task. In evaluation it is `average`, a second copy of the same weights; buffers, such as the
    running statistics of a norm, are the newest. `ended` puts the average into the task itself. A task that counts
    something keeps it in a module.
    """

    def __init__(self, task: Task, decay: float) -> None:
        if not 0 < decay < 1:
            raise UserError(f"ema {decay:g}: must lie above 0 and below 1, such as 0.999; 0 for none")
        super().__init__(task)
        self.decay = decay
        self.average = deepcopy(task).requires_grad_(False).eval()
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.average.eval()
        return self

    def forward(self, batch: Batch) -> Any:
        return self.alone(batch) if self.training else self.average(batch)

    def watch(self, loss: Sequence[tuple[int, float]], dev: Sequence[tuple[int, float]]) -> str | None:
        return self.average.watch(loss, dev)

    @torch.no_grad()
    def stepped(self) -> None:
        self.alone.stepped()
        t = int(self.updates)
        self.updates += 1
        mine, kept = list(self.alone.parameters()), list(self.average.parameters())
        torch._foreach_lerp_(kept, mine, 1 - min(self.decay, (1 + t) / (10 + t)))
        for a, b in zip(self.average.buffers(), self.alone.buffers(), strict=True):
            a.copy_(b)

    @torch.no_grad()
    def ended(self) -> None:
        for mine, kept in zip(self.alone.parameters(), self.average.parameters(), strict=True):
            mine.copy_(kept)
        self.alone.ended()

    def criterion(self, prediction: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        return (self.alone if self.training else self.average).criterion(prediction, batch)

    def each(self, prediction: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.average.each(prediction, batch)

    def further(self, told: Iterable[tuple[Any, Batch]]) -> dict[str, Any]:
        return self.average.further(told)

    def identity(self) -> dict[str, Any]:
        return {"ema": self.decay, **self.alone.identity()}
