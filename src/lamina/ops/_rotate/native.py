"""The rotation's kernels as a PyTorch operator."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from lamina.ops import _native
from lamina.ops._native import TASK, kernels_of, needs_graph, rows

__all__ = ["refuses", "rotate"]


_kernels = kernels_of(__package__)


def refuses(x: Tensor, positions: Tensor | None, closed: bool) -> str | None:
    if positions is not None and positions.dtype != torch.int64:
        return f"it has no form for positions of {positions.dtype}"
    if positions is not None and not positions.is_cpu:
        return "it is for the CPU"
    return _native.refuses(x)


def rotate(x: Tensor, positions: Tensor | None, closed: bool) -> Tensor:
    """(a, b) -> (a cos - b sin, a sin + b cos), the angle position * rate."""
    if needs_graph(x):
        y: Tensor = _operator(x, positions, closed, False)
        return y
    return _rotate(x, positions, closed, False)


def _rotate(x: Tensor, positions: Tensor | None, closed: bool, back: bool) -> Tensor:
    batch, frames, heads, size = x.shape
    if positions is None:  # a table that grows by doubling, so that rows of many lengths share it
        table = _table(1 << max(0, frames - 1).bit_length(), size, closed, x.dtype)
    else:
        table = positions = positions.contiguous()
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    x, steps = rows(x)
    block = max(1, TASK // (heads * size))
    made, slowest = positions is not None, max(1, size // 2 - closed)
    position_row = frames if made and table.shape[0] > 1 else 0
    _kernels().rotate(
        [x, table, y],
        [made, slowest, batch * frames, heads, size, block, frames, position_row, back, *steps],
        tasks=-(-batch * frames // block), work=x.numel() * (64 if made else 4),
    )  # fmt: skip
    return y


@lru_cache(maxsize=16)
def _table(frames: int, width: int, closed: bool, dtype: torch.dtype) -> Tensor:
    """(cos, sin) of every pair at positions 0..frames-1, [1,T,1,K]: the turned pairs (1, 0)."""
    with torch.inference_mode(False), torch.no_grad():  # a tensor of inference mode could not be trained with later
        pairs = torch.tensor([1.0, 0.0], dtype=dtype).repeat(width // 2)
        return _rotate(pairs.expand(1, frames, 1, width), torch.arange(frames)[None], closed, False)


@torch.library.custom_op("lamina::rotate", mutates_args=(), device_types="cpu")
def _operator(x: Tensor, positions: Tensor | None, closed: bool, back: bool) -> Tensor:
    return _rotate(x, positions, closed, back)


@_operator.register_fake
def _(x: Tensor, positions: Tensor | None, closed: bool, back: bool) -> Tensor:
    return x.new_empty(x.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, positions, ctx.closed, ctx.back = inputs
    ctx.save_for_backward(positions)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None, None]:
    return _operator(dy, *ctx.saved_tensors, ctx.closed, not ctx.back), None, None, None


_operator.register_autograd(_differentiate, setup_context=_keep)
