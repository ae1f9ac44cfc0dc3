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

    def __getitem__(self, key: Any) -> Tensor:
        """Rows by number, slice or tensor, and of these the frames of a slice: a tensor padded with zeros."""
        index, span = key if isinstance(key, tuple) else (key, slice(None))
        rows, t = torch.arange(len(self))[index], torch.arange(self.shape[1])[span]
        real = t < self.lengths[rows][..., None]
        found = self.frames[(self.starts[rows][..., None] + t).where(real, 0)]
        return found.where(real.reshape(real.shape + (1,) * (self.frames.dim() - 1)), 0)
