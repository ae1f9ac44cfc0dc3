"""Group norm as its definition, in the dtype of the inputs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["group_norm"]


def group_norm(
    x: Tensor, weight: Tensor, bias: Tensor, shift: Tensor | None, n_groups: int, eps: float, silu: bool
) -> Tensor:
    """norm(x + shift) over all places and a group's channels, times weight plus bias, through silu."""
    if shift is not None:
        x = x + shift[(slice(None), *[None] * (x.dim() - 2))]
    y = F.group_norm(x.movedim(-1, 1), n_groups, weight.to(x.dtype), bias.to(x.dtype), eps).movedim(1, -1)
    return F.silu(y) if silu else y
