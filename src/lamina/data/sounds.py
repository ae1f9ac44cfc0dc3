"""Sounds as samples, for structures that hear samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lamina.data.dataset import FULL

__all__ = ["Samples", "pieces", "whole"]


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
        """Each sound [n] in -1..1 as [n,1] int16; one is held as float32 at a time."""
        return whole(sounds)


def whole(sounds: Iterable[Tensor]) -> list[Tensor]:
    """Sounds [n] in -1..1, read one by one, as [n,1] int16."""
    return [(sound * FULL).round().clamp(-FULL, FULL - 1).to(torch.int16)[:, None] for sound in sounds]


def pieces(sounds: Iterable[Tensor], longest: int, shortest: int) -> Iterator[Tensor]:
    """Each sound cut into as few equal pieces of at most `longest` samples as there can be; none below `shortest`."""
    for sound in sounds:
        yield from (piece for piece in sound.tensor_split(-(-len(sound) // longest) or 1) if len(piece) >= shortest)
