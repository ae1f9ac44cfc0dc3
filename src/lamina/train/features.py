"""The features that generated images are compared by: those of a LeNet that was trained on the real ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from lamina.core import taps
from lamina.data import DataSet
from lamina.tasks import Task
from lamina.train.loop import fit
from lamina.train.run import Order

__all__ = ["Features", "lenet_features"]

LAYER = "head.layers.1"  # its rectified outputs are what the last layer reads
PASSES, BATCH, LR = 8, 64, 2e-3

Features = Callable[[Tensor], Tensor]
"""Images [N,C,H,W] in 0..1 -> feature vectors [N,84]."""


def lenet_features(dataset: DataSet, seed: int = 0) -> Features:
    """What a LeNet-5's last layer reads, the network trained on the data set's own training part with its classes.

    About a minute on MNIST, seconds on small digits: eight passes, at least 400 updates. The same for the same data and
    seed, and trained once a process. A distance on these features is called the Frechet distance on LeNet features: it
    is no FID, which is of another network's, and its numbers mean nothing beside that one's.
    """
    task = _trained(_Same(dataset), seed)
    return lambda images: _features(task, images)


class _Same:
    """A data set by its digest, so that a network is trained once for equal data."""

    def __init__(self, dataset: DataSet) -> None:
        self.dataset = dataset

    def __hash__(self) -> int:
        return hash(self.dataset.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.dataset.digest == other.dataset.digest


@lru_cache(maxsize=4)
def _trained(data: _Same, seed: int) -> Task:
    train = data.dataset.train
    steps = max(400, PASSES * len(train) // BATCH)
    order = Order("lenet", {"d_in": data.dataset.shape[0]}, data.dataset.name, steps, LR, seed, BATCH)
    task = order.build(data.dataset)
    fit(task, data.dataset, steps=steps, lr=LR, seed=seed, batch_size=BATCH)
    return task


@torch.no_grad()
def _features(task: Task, images: Tensor) -> Tensor:
    found = []
    for some in images.split(512):
        with taps(task.backbone, [LAYER]) as seen:
            task({"x": some})
        found.append(seen[LAYER].relu())
    return torch.cat(found)
