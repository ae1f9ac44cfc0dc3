"""DataSet: three fixed parts of tensors, and what they are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

__all__ = ["DataSet", "Split", "digest", "stratified"]


@dataclass(frozen=True)
class Split:
    """One part of a data set.

    x: images [N,C,H,W] float32 in 0..1, sequences [N,T,D], or tables [N,D].
    y: classes [N] int64, or numbers [N,d_target] float32.
    lengths: real frames of each row [N] int64, or None where all T are real.
    """

    x: Tensor
    y: Tensor
    lengths: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, index: Tensor | slice) -> dict[str, Tensor]:
        """Some rows as a batch: {"x", "y"} and, where rows are ragged, "lengths"."""
        batch = {"x": self.x[index], "y": self.y[index]}
        if self.lengths is not None:
            batch["lengths"] = self.lengths[index]
        return batch

    def part(self, index: Tensor) -> Split:
        """The same rows as a Split of their own."""
        return Split(self.x[index], self.y[index], None if self.lengths is None else self.lengths[index])


@dataclass(frozen=True)
class DataSet:
    """Data with fixed train, dev and test parts, the same in every run."""

    name: str
    kind: Literal["image", "sequence", "table"]
    task: Literal["classify", "regress"]
    train: Split = field(repr=False)
    dev: Split = field(repr=False)
    test: Split = field(repr=False)
    source: str
    n_classes: int | None = None
    d_target: int | None = None

    @property
    def n_out(self) -> int:
        """Width of a prediction: the classes, or the numbers of a target."""
        width = self.n_classes if self.task == "classify" else self.d_target
        if width is None:
            raise ValueError(f"{self.name}: a data set to {self.task} says n_classes or d_target")
        return width

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(self.train.x.shape[1:])

    @cached_property
    def digest(self) -> str:
        """A hash of all tensors: two data sets of equal digest are equal."""
        return digest(self.train, self.dev, self.test)

    @cached_property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation of all pixels of the training part; (0, 1) for what is not an image."""
        if self.kind != "image":
            return 0.0, 1.0
        return float(self.train.x.mean()), float(self.train.x.std()) or 1.0

    def describe(self) -> dict[str, Any]:
        """What a results file says of the data."""
        return {
            "name": self.name,
            "kind": self.kind,
            "task": self.task,
            "train": len(self.train),
            "dev": len(self.dev),
            "test": len(self.test),
            "shape": list(self.shape),
            "classes": self.n_classes,
            "source": self.source,
            "digest": self.digest,
        }


def digest(*splits: Split) -> str:
    """The first 16 hex digits of the SHA-256 of every tensor's type, shape and bytes."""
    total = hashlib.sha256()
    for split in splits:
        for tensor in (split.x, split.y, split.lengths):
            if tensor is None:
                total.update(b"none")
                continue
            total.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            total.update(tensor.contiguous().numpy())
    return total.hexdigest()[:16]


def stratified(y: Tensor, dev: float, test: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Row numbers of train, dev and test, each with every class in the same proportion. y [N] int64.

    dev and test are fractions of each class, rounded. The split depends on y and seed only.
    """
    generator = torch.Generator().manual_seed(seed)
    none = torch.zeros(0, dtype=torch.int64)
    parts: tuple[list[Tensor], ...] = ([none], [none], [none])
    for label in y.unique(sorted=True):
        rows = torch.nonzero(y == label).flatten()
        rows = rows[torch.randperm(len(rows), generator=generator)]
        n_test, n_dev = round(len(rows) * test), round(len(rows) * dev)
        cuts = (rows[n_test + n_dev :], rows[n_test : n_test + n_dev], rows[:n_test])
        for part, cut in zip(parts, cuts, strict=True):
            part.append(cut)
    train, held, last = (torch.cat(part).sort().values for part in parts)
    return train, held, last
