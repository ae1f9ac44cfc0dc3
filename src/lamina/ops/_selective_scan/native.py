"""The selective scan's kernels as PyTorch operators."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from lamina.ops import _native
from lamina.ops._native import (
    BLOCK,
    BYTES,
    CHUNK,
    WIDE,
    differentiable,
    kernels_of,
    needs_graph,
    rows_first,
)
from lamina.ops._selective_scan import chunk

__all__ = ["refuses", "selective_scan"]

FEW = 4  # frames


_kernels = kernels_of(__package__)


def refuses(*inputs: Tensor) -> str | None:
    return _native.refuses(*inputs) or _native.beyond_stack(
        3 * inputs[-1].shape[-1] * WIDE * BYTES
    )  # the way back has three


def selective_scan(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """h <- exp(dt_t A) h + dt_t B_t x_t,    y_t = C_t . h + D x_t."""
    if needs_graph(x, dt, A, B, C, D, state):
        y, end, _ = _operator(x, dt, A, B, C, D, state)
        return y, end
    return _forward(x, dt, A, B, C, D, state, keep=False)[:2]


def _tiles(x: Tensor) -> tuple[int, int]:
    """How many tiles a row's channels make, and how many channels one has."""
    wide = WIDE * BYTES // x.element_size()
    return -(-x.shape[2] // wide), wide


def _strides(*tensors: Tensor) -> list[int]:
    """Steps from row to row and from frame to frame."""
    return [step for t in tensors for step in t.stride()[:2]]


def _kept(x: Tensor, A: Tensor) -> Tensor:
    """Room for the states before every CHUNK frames."""
    tiles, wide = _tiles(x)
    return x.new_empty(x.shape[0] * tiles * -(-x.shape[1] // CHUNK), A.shape[1], wide)


def _forward(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, state: Tensor, *, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    x, dt, B, C = (rows_first(t) for t in (x, dt, B, C))
    y, end = torch.empty_like(x, memory_format=torch.contiguous_format), torch.empty_like(state.contiguous())
    kept = _kept(x, A) if keep else y
    few = x.shape[1] < FEW and not keep
    (_kernels().brief if few else _kernels().forward)(
        [x, dt, A.contiguous(), B, C, D.contiguous(), state.contiguous(), y, end, kept],
        [*x.shape, A.shape[1], int(keep), *_strides(x, dt, B, C)],
        tasks=x.shape[0] * (-(-x.shape[2] // BLOCK) if few else _tiles(x)[0]),
        work=x.numel() * A.shape[1] * 16,
    )
    return y, end, kept


@torch.library.custom_op("lamina::selective_scan", mutates_args=(), device_types="cpu")
def _operator(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, state: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return _forward(x, dt, A, B, C, D, state, keep=True)


@_operator.register_fake
def _(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, state: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), state.new_empty(state.shape), _kept(x, A)


@torch.library.custom_op("lamina::selective_scan_backward", mutates_args=(), device_types="cpu")
def _backward(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, kept: Tensor, dy: Tensor, d_end: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    x, dt, B, C = (rows_first(t) for t in (x, dt, B, C))
    (rows, frames, channels), n_state, tiles = x.shape, A.shape[1], _tiles(x)[0]
    dx, ddt = x.new_empty(x.shape), x.new_empty(x.shape)
    dA, d_begin = x.new_empty(rows, channels, n_state), x.new_empty(rows, channels, n_state)
    dB, dC = x.new_empty(rows, tiles, frames, n_state), x.new_empty(rows, tiles, frames, n_state)
    dD = x.new_empty(rows, channels)
    given = [x, dt, A.contiguous(), B, C, D.contiguous(), kept, dy.contiguous(), d_end.contiguous()]
    _kernels().backward(
        [*given, dx, ddt, dA, dB, dC, dD, d_begin],
        [rows, frames, channels, n_state, *_strides(x, dt, B, C)],
        tasks=rows * tiles,
        work=x.numel() * n_state * 32,
    )
    return dx, ddt, dA.sum(0), dB.sum(1), dC.sum(1), dD.sum(0), d_begin


@_backward.register_fake
def _(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, kept: Tensor, dy: Tensor, d_end: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    dx, ddt, dA, dB, dC, dD, d_begin = (t.new_empty(t.shape) for t in (x, dt, A, B, C, D, d_end))
    return dx, ddt, dA, dB, dC, dD, d_begin


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs, output[2])
    ctx.mark_non_differentiable(output[2])


def _differentiate(ctx: Any, dy: Tensor, d_end: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    *inputs, kept = ctx.saved_tensors
    if torch.is_grad_enabled():
        return differentiable(chunk.selective_scan, inputs, (dy, d_end))
    return _backward(*inputs[:6], kept, dy, d_end)


_operator.register_autograd(_differentiate, setup_context=_keep)


@register_flop_formula(torch.ops.lamina.selective_scan)
def _flops(x: tuple[int, ...], dt: tuple[int, ...], A: tuple[int, ...], *_: Any, **__: Any) -> int:
    """The exponent, the state's decay and write, the output: 6 * N a frame and channel, without the exponentials."""
    return 6 * prod(x) * A[1]


@register_flop_formula(torch.ops.lamina.selective_scan_backward)
def _flops_backward(x: tuple[int, ...], dt: tuple[int, ...], A: tuple[int, ...], *_: Any, **__: Any) -> int:
    return 20 * prod(x) * A[1]  # the states once more (4), then eight sums and products
