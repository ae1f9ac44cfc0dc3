"""DataSet: three fixed parts of tensors, and what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from lamina.core.seq import Seq
from lamina.data.vocabulary import Vocabulary

__all__ = ["NOT_ASKED", "DataSet", "Examples", "Split", "digest", "stratified"]

NOT_ASKED = -1  # in a target of frames: nothing is asked there
Examples = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
"""Makes so many fresh examples, x and y, from a generator alone."""


@dataclass(frozen=True)
class Split:
    """One part of a data set.

    x: images [N,C,H,W] float32 in 0..1, sequences and features of sounds [N,T,D], tables [N,D], or tokens [N,T]
    (integers).
    y: classes [N] int64, numbers [N,d_target] float32, for tokens a class a frame [N,T], NOT_ASKED where none is, or
    rows of labels [N,U], NOT_ASKED behind their ends.
    lengths: real frames of each row [N] int64, or None where all T are real.
    """

    x: Tensor
    y: Tensor
    lengths: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, index: Tensor | slice) -> dict[str, Tensor]:
        """Some rows as a batch: {"x", "y"} and, where rows are ragged, "lengths"; x ends with the longest row."""
        if self.lengths is None:
            return {"x": self.x[index], "y": self.y[index]}
        lengths = self.lengths[index]
        longest = int(lengths.max()) if self.x.dim() == 3 and len(lengths) else None
        return {"x": self.x[index, :longest], "y": self.y[index], "lengths": lengths}

    def part(self, index: Tensor) -> Split:
        """The same rows as a Split of their own."""
        return Split(self.x[index], self.y[index], None if self.lengths is None else self.lengths[index])


@dataclass(frozen=True)
class DataSet:
    """Data with fixed train, dev and test parts, the same in every run.

    task: "classify" and "regress" ask once an example; of tokens, "answer" asks for a class at some frames, "lm" for
    the next byte at every frame, "mlm" for hidden words and, at [CLS], whether two sentences belong together, "span"
    where an answer begins and ends, [N,2]; of pairs, "translate" asks for the words of y, the first of which begins it
    and the last ends it; of sounds, "ctc" asks for a row of labels; "denoise" and "adversarial" ask for more examples
    like these, of one length, "denoise" of the classes y.
    examples: where training examples are made afresh at every step; `train` is then a sample of them. probes: further
    test parts by a number that they differ in, such as their length; probe names it.
    """

    name: str
    kind: Literal["image", "sequence", "table", "tokens", "pairs", "audio"]
    task: Literal["classify", "regress", "answer", "lm", "mlm", "span", "translate", "ctc", "denoise", "adversarial"]
    train: Split = field(repr=False)
    dev: Split = field(repr=False)
    test: Split = field(repr=False)
    source: str
    n_classes: int | None = None
    d_target: int | None = None
    n_vocab: int | None = None  # of tokens: they are 0..n_vocab-1
    vocabulary: Vocabulary | None = field(default=None, repr=False, compare=False)  # where the tokens are of words
    labels: tuple[str, ...] = ()  # the names of the classes, where they have any; of "ctc" those from class 1 on
    examples: Examples | None = field(default=None, repr=False, compare=False)
    probes: dict[int, Split] = field(default_factory=dict, repr=False)
    probe: str = ""
    rate: int | None = None  # where frames are `LogMel`'s of their width: of the sound, Hz
    title: str = ""  # what a sentence calls it; default its name

    @property
    def n_out(self) -> int:
        """Width of a prediction: the classes, or the numbers of a target."""
        width = self.d_target if self.task == "regress" else self.n_classes
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
        return digest(self.train, self.dev, self.test, *self.probes.values())

    @cached_property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation of all pixels of the training part, or of all features of its real frames.

        (0, 1) for what is neither image nor sound.
        """
        if self.kind not in ("image", "audio"):
            return 0.0, 1.0
        x = self.train.x
        if self.train.lengths is not None:
            x = x[Seq.ragged(x, self.train.lengths).mask]
        return float(x.mean()), float(x.std()) or 1.0

    def describe(self) -> dict[str, Any]:
        """What a results file says of the data."""
        found: dict[str, Any] = {
            "name": self.name,
            "kind": self.kind,
            "task": self.task,
            "train": len(self.train) if self.examples is None else "fresh examples at every step",
            "dev": len(self.dev),
            "test": len(self.test),
            "shape": list(self.shape),
            "classes": self.n_classes,
            "source": self.source,
            "digest": self.digest,
        }
        return found | ({"labels": list(self.labels)} if self.labels else {})


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
