"""Sounds as samples: one behind the other in memory, padded batch by batch, for structures that hear samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lamina.data.dataset import Split

__all__ = ["Samples", "Sounds", "pieces"]

FULL = 32768.0  # of a 16-bit sample


@dataclass(frozen=True)
class Samples:
    """Sounds as they are, in place of `Features`: a frame is a sample."""

    rate: int

    @property
    def seconds(self) -> float:
        """Of sound that a frame stands for."""
        return 1 / self.rate

    def frames(self, n: int) -> int:
        """Frames of n samples."""
        return n

    def __call__(self, sounds: Iterable[Tensor]) -> list[Tensor]:
        """Each sound [n] in -1..1 as int16; one is held as float32 at a time."""
        return whole(sounds)


@dataclass(frozen=True)
class Sounds(Split):
    """A part whose rows are sounds: x [n,1] int16, the samples of all one behind the other; lengths [N] says of each.

    A batch's x is [B,longest,1] float32 in -1..1, zeros behind the ends: padding is never stored.
    """

    @classmethod
    def of(cls, sounds: Iterable[Tensor], y: Tensor | None = None) -> Sounds:
        """From sounds [n] in -1..1, read one by one; y: zeros where None."""
        return cls.packed(whole(sounds), y)

    @classmethod
    def packed(cls, found: list[Tensor], y: Tensor | None = None) -> Sounds:
        """From sounds [n] int16."""
        x = torch.cat([torch.zeros(0, dtype=torch.int16), *found])
        y = torch.zeros(len(found), dtype=torch.int64) if y is None else y
        return cls(x[:, None], y, torch.tensor([len(sound) for sound in found], dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> tuple[int, ...]:
        assert self.lengths is not None
        return int(self.lengths.max()), 1

    @cached_property
    def starts(self) -> Tensor:
        """Where each begins."""
        assert self.lengths is not None
        return self.lengths.cumsum(0) - self.lengths

    def sound(self, row: int) -> Tensor:
        """The samples [n] of a row, int16."""
        assert self.lengths is not None
        start = int(self.starts[row])
        return self.x[start : start + int(self.lengths[row]), 0]

    def rows(self, index: Tensor | slice) -> dict[str, Tensor]:
        which = torch.arange(len(self))[index].tolist()
        x = torch.nn.utils.rnn.pad_sequence([self.sound(row) for row in which], batch_first=True)
        assert self.lengths is not None
        return {"x": x[..., None] / FULL, "y": self.y[index], "lengths": self.lengths[index]}

    def part(self, index: Tensor) -> Sounds:
        assert self.lengths is not None
        x = torch.cat([self.sound(row) for row in index.tolist()])
        return Sounds(x[:, None], self.y[index], self.lengths[index])


def whole(sounds: Iterable[Tensor]) -> list[Tensor]:
    """Sounds [n] in -1..1, read one by one, as int16."""
    return [(sound * FULL).round().clamp(-FULL, FULL - 1).to(torch.int16) for sound in sounds]


def pieces(sounds: Iterable[Tensor], longest: int, shortest: int) -> Iterator[Tensor]:
    """Each sound cut into as few equal pieces of at most `longest` samples as there can be; none below `shortest`."""
    for sound in sounds:
        yield from (piece for piece in sound.tensor_split(-(-len(sound) // longest) or 1) if len(piece) >= shortest)
