"""What the training tests share: a tiny data set, a task with dropout, a way to kill a run."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import torch

from lamina.core import Layer, Serial
from lamina.data import DataSet, Split
from lamina.layers import GRU, Dropout, LayerNorm
from lamina.tasks import Task, make

SEQUENCE = SimpleNamespace(name="mine", view="sequence")
QUICK = {"steps": 12, "lr": 1e-2, "seed": 0, "batch_size": 8}


def parity(n: int = 40) -> DataSet:
    """Sequences [n,5,3] of numbers; the class says whether their sum is above 0."""
    x = torch.randn(n, 5, 3, generator=torch.Generator().manual_seed(0))
    split = Split(x, (x.sum((1, 2)) > 0).long())
    return DataSet("sums", "sequence", "classify", split, split, split, "made here", n_classes=2)


def with_dropout() -> Layer:
    """Dropout, so that the random state matters."""
    return Serial(GRU(6, 6), LayerNorm(6), Dropout(6, 0.3))


def small(dataset: DataSet, seed: int = 0, build: Callable[[], Layer] = with_dropout) -> Task:
    torch.manual_seed(seed)
    return make(dataset, SEQUENCE, build())


def weights(task: Task) -> list[torch.Tensor]:
    return [t.clone() for t in task.state_dict().values()]


def equal(one: Task, other: Task) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


class Killed(Exception):
    pass


def killed_at(step: int) -> Callable[[int, float], None]:
    def on_step(at: int, loss: float) -> None:
        if at == step:
            raise Killed

    return on_step
