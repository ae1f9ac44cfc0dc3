"""The rotation as its definition."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["rotate"]


def rotate(x: Tensor, positions: Tensor | None, closed: bool) -> Tensor:
    """(a, b) -> (a cos - b sin, a sin + b cos), the angle position * rate."""
    positions = torch.arange(x.shape[1], device=x.device)[None] if positions is None else positions
    half = x.shape[-1] // 2
    i = torch.arange(half, device=x.device, dtype=torch.float64)
    angles = positions[:, :, None, None] * 10000.0 ** (-i / max(1, half - int(closed)))  # [B,T,1,K/2]
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
