"""A task around another: what it does more while it trains, with the same modules."""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor, nn

from lamina.tasks.task import Batch, Task

__all__ = ["Wrapped"]


class Wrapped(Task):
    """The modules are the task's own under their own names, so that training this trains `alone`, the task: what is
    scored, saved and shipped. What a wrapper brings beside them is thrown away with it.
    """

    def __init__(self, task: Task) -> None:
        nn.Module.__init__(self)  # Task's own would make a second stem and head
        self.view, self.n_out, self.metric, self.betas = task.view, task.n_out, task.metric, task.betas
        self.stem, self.backbone, self.head = task.stem, task.backbone, task.head
        self._alone = (task,)  # in a tuple, so that its modules are not registered once more under other names
        for name, module in task.named_children():
            self.add_module(name, module)

    @property
    def alone(self) -> Task:
        """The task itself."""
        return self._alone[0]

    @property
    def done(self) -> float:  # type: ignore[override]
        return self.alone.done

    @done.setter
    def done(self, share: float) -> None:
        self.alone.done = share

    def train(self, mode: bool = True) -> Self:
        self.alone.train(mode)
        return super().train(mode)

    def pool(self, frames: Any, batch: Batch) -> Tensor:
        return self.alone.pool(frames, batch)
