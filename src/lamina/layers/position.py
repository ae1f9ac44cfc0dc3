"""Positions: how many real frames came before."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.core import Seq

__all__ = ["count"]


def count(x: Seq, seen: Tensor) -> tuple[Tensor, Tensor]:
    """The position of every frame, [B,T], and the real frames seen after the last, [B]; absent frames do not count.

    seen [B] int64: the real frames before x.
    """
    frames = x.mask.shape[1]
    if x.dense:
        positions = seen[:, None] if frames == 1 else seen[:, None] + torch.arange(frames, device=seen.device)
        return positions, seen + frames
    upto = seen[:, None] + x.mask.to(torch.int64).cumsum(1)
    return upto - 1, seen + x.mask.sum(1)
