"""Ragged: rows of different lengths in one tensor without padding, read as a padded one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["Ragged"]


class Ragged:
    """Rows [T_i,*C] one behind another in `frames` [S,*C], read as if they were [N,T,*C] with zeros behind their ends.

    It answers what a tensor of that shape answers to shape, dtype, dim, len and x[rows], x[rows, from:to]; what is read
    is padded only then. A set whose longest row is five times the mean takes a fifth of the memory.
    """

    def __init__(self, rows: Sequence[Tensor], longest: int | None = None) -> None:
        """longest: T, where it is to be more than that of the longest row."""
        self.frames = torch.cat(list(rows))
        self.lengths = torch.tensor([len(row) for row in rows])
        self.starts = self.lengths.cumsum(0) - self.lengths
        most = max(longest or 0, int(self.lengths.max()))
        self.shape = torch.Size((len(rows), most, *self.frames.shape[1:]))

    @property
    def dtype(self) -> torch.dtype:
        return self.frames.dtype

    def is_floating_point(self) -> bool:
        return self.frames.is_floating_point()

    def dim(self) -> int:
        return len(self.shape)

    def numel(self) -> int:
        return self.shape.numel()

    def __len__(self) -> int:
        return self.shape[0]

    def row(self, i: int) -> Tensor:
        """The frames of a row, [T_i,*C]."""
        return self.frames[self.starts[i] :][: self.lengths[i]]

    def part(self, index: Tensor | slice) -> Ragged:
        """Some rows, T as it is."""
        return Ragged([self.row(i) for i in torch.arange(len(self))[index].tolist()], self.shape[1])

    def __getitem__(self, key: Any) -> Tensor:
        """Rows by number, slice or tensor, and of these the frames of a slice: a tensor padded with zeros."""
        index, span = key if isinstance(key, tuple) else (key, slice(None))
        rows, t = torch.arange(len(self))[index], range(self.shape[1])[span]
        found = self.frames.new_zeros(rows.numel(), len(t), *self.shape[2:])
        for padded, i in zip(found, rows.flatten().tolist(), strict=True):
            real = self.row(i)[t.start : t.stop : t.step]
            padded[: len(real)] = real
        return found.reshape(*rows.shape, *found.shape[1:])
