"""Rotary positions: pairs of channels turned by an angle that grows with the position (Su et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lamina.ops._native.again import again
from lamina.ops._rotate import native, ref
from lamina.ops._shapes import Shapes
from lamina.ops.registry import Impl, Op

__all__ = ["ROTATE", "rotate"]

ROTATE = Op("rotate", Impl("numba", native.rotate, native.refuses), Impl("ref", ref.rotate, traces=True))
_SHAPES = Shapes("rotate", "x: B T H K", "positions: rows T")


@again
def rotate(x: Tensor, positions: Tensor | None = None, *, closed: bool = False, impl: str = "auto") -> Tensor:
    """Turns the pairs (x_2i, x_2i+1) of every head by position * 10000^(-2i/K) (Su et al. 2021, arXiv:2104.09864).

    x [B,T,H,K], K even; positions [B,T] or [1,T] int64, None for 0..T-1. Angles are computed in float64, so the
    product of two frames turned at 1e6 and 1e6 + 1 is as exact as at 0 and 1. closed: the slowest pair turns by
    1/10000 itself, 10000^(-i/(K/2-1)), as RetNet has it (Sun et al. 2023). -> [B,T,H,K], float32 or wider.
    """
    sizes = _SHAPES(x, positions)
    if sizes["K"] % 2:
        raise ValueError(f"rotate: x of shape {list(x.shape)} has an odd width; positions turn pairs")
    if positions is not None and sizes["rows"] not in (1, sizes["B"]):
        raise ValueError(f"rotate: positions of shape {list(positions.shape)} are neither one row nor B={sizes['B']}")
    if x.dtype not in (torch.float32, torch.float64):
        x = x.float()
    run: Callable[..., Tensor] = ROTATE.choose(impl, x, positions, closed).run
    return run(x, positions, closed)
