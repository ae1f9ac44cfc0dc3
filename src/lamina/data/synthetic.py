"""The adding problem (Hochreiter & Schmidhuber 1997): remember two marked numbers of a sequence, give their sum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lamina.core.config import UserError
from lamina.data.batch import generator_of
from lamina.data.dataset import DataSet, Split

__all__ = ["AddingBatches", "adding", "adding_examples"]

SIZES = (50_000, 2_000, 5_000)  # train, dev, test


def adding_examples(n: int, frames: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """n examples: x [n,frames,2] and the target y [n,1].

    Column 0 holds values drawn uniformly from [0,1], column 1 marks two frames with 1, one in the first half, one in
    the second; y is the sum of the two marked values. Constantly answering 1 has a mean squared error of 1/6, the
    target's variance. This is the variant of Le, Jaitly & Hinton 2015 and Arjovsky et al. 2016; the original draws
    values from [-1,1], marks a frame among the first ten and one in the first half, varies the length by a tenth and
    scales the target.
    """
    if frames < 2:
        raise UserError(f"adding: frames={frames}; two frames are marked, so at least 2 are needed")
    values = torch.rand(n, frames, generator=generator)
    half = frames // 2
    first = torch.randint(0, half, (n,), generator=generator)
    second = torch.randint(half, frames, (n,), generator=generator)
    marks = torch.zeros(n, frames)
    rows = torch.arange(n)
    marks[rows, first] = marks[rows, second] = 1.0
    target = values[rows, first] + values[rows, second]
    return torch.stack([values, marks], -1), target[:, None]


def adding(frames: int = 100, seed: int = 0, sizes: tuple[int, int, int] = SIZES) -> DataSet:
    """The adding problem as a data set of fixed parts: sequences of `frames` frames of width 2, one number to tell."""
    generator = torch.Generator().manual_seed(seed)
    train, dev, test = (Split(*adding_examples(n, frames, generator)) for n in sizes)
    source = f"adding problem, T={frames}, values uniform in [0,1], one mark in each half, seed {seed}"
    return DataSet("adding", "sequence", "regress", train, dev, test, source, d_target=1)


@dataclass(frozen=True)
class AddingBatches:
    """Fresh examples for every step, never seen twice: a source of batches for `lamina.train.fit(batches=)`.

    Batch `step` depends on (seed, step) only.
    """

    frames: int
    batch_size: int
    seed: int

    def __call__(self, step: int) -> dict[str, Tensor]:
        """The batch of that step: {"x": [B,T,2], "y": [B,1]}."""
        x, y = adding_examples(self.batch_size, self.frames, generator_of(self.seed, step))
        return {"x": x, "y": y}
