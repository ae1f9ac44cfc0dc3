"""Rotary positions: pairs of channels turned by an angle that grows with the position (Su et al. 2021)."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from lamina.ops.registry import tracing

__all__ = ["rotate"]


def rotate(x: Tensor, positions: Tensor | None = None, *, closed: bool = False) -> Tensor:
    """Turns the pairs (x_2i, x_2i+1) of every head by position * 10000^(-2i/K) (Su et al. 2021, arXiv:2104.09864).

    x [B,T,H,K], K even; positions [B,T] or [1,T] int64, None for 0..T-1. Angles are computed in float64, so the
    product of two frames turned at 1e6 and 1e6 + 1 is as exact as at 0 and 1. closed: the slowest pair turns by
    1/10000 itself, 10000^(-i/(K/2-1)), as RetNet has it (Sun et al. 2023). -> [B,T,H,K], float32 or wider.
    """
    if x.dtype not in (torch.float32, torch.float64):  # narrower ones have no complex product, and angles need it
        x = x.float()
    if tracing():  # graphs know no complex numbers
        positions = torch.arange(x.shape[1], device=x.device)[None] if positions is None else positions
        angles = positions[:, :, None, None] * _rates(x.shape[-1], closed, x.device)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
    precision = torch.complex64 if x.dtype == torch.float32 else torch.complex128
    if positions is None:  # the table grows by doubling, so that rows of many lengths share it
        frames = 1 << max(0, x.shape[1] - 1).bit_length()
        turn = _table(frames, x.shape[-1], closed, precision, x.device)[:, : x.shape[1]]
    else:
        turn = (positions[:, :, None, None] * _spins(x.shape[-1], closed, x.device)).exp().to(precision)
    if x.stride(1) % 2 or x.stride(0) % 2 or x.storage_offset() % 2:
        x = x.contiguous()  # a pair must not straddle two complex numbers
    return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * turn).flatten(-2)


def _rates(width: int, closed: bool, device: torch.device) -> Tensor:
    """Radians a frame of every pair, [K/2] in float64."""
    half = width // 2
    i = torch.arange(half, device=device, dtype=torch.float64)
    return 10000.0 ** (-i / (max(1, half - 1) if closed else half))


@lru_cache(maxsize=64)
def _spins(width: int, closed: bool, device: torch.device) -> Tensor:
    """The rates times the imaginary unit."""
    with torch.inference_mode(False), torch.no_grad():  # a tensor of inference mode could not be trained with later
        return 1j * _rates(width, closed, device)


@lru_cache(maxsize=16)
def _table(frames: int, width: int, closed: bool, precision: torch.dtype, device: torch.device) -> Tensor:
    """The turns of positions 0..frames-1, [1,T,1,K/2]."""
    with torch.inference_mode(False), torch.no_grad():
        t = torch.arange(frames, device=device)[None, :, None, None]
        return (t * _spins(width, closed, device)).exp().to(precision)
