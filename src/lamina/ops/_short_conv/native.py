"""The depthwise convolution's kernels as PyTorch operators."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from lamina.ops import _native
from lamina.ops._native import differentiable, kernels_of, needs_graph, rows_first
from lamina.ops._short_conv import ref

__all__ = ["refuses", "short_conv"]

FRAMES = 64  # of a task


_kernels = kernels_of(__package__)


def refuses(x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, state: Tensor) -> str | None:
    if not state.is_cpu:  # it may be empty, which the others may not
        return "it is for the CPU"
    return _native.refuses(x, weight, bias)


def short_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, state: Tensor
) -> tuple[Tensor, Tensor]:
    """y_t = bias + sum_i weight_i x_{t-(kernel-1)+i}."""
    run = _operator if needs_graph(x, weight, bias, state) else _forward
    y, end = run(x, weight, bias, state)
    if mask is not None:
        end = ref.last(torch.cat([state, x], 1), state.shape[1], mask)
    return y, end


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor) -> tuple[Tensor, Tensor]:
    (batch, frames, channels), kernel = x.shape, weight.shape[1]
    x = rows_first(x)
    y, end = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (x, state))
    _kernels().forward(
        [x, weight.contiguous(), weight if bias is None else bias.contiguous(), state.contiguous(), y, end],
        [batch, frames, channels, kernel, bias is not None, *x.stride()[:2], FRAMES],
        tasks=batch * -(-frames // FRAMES),
        work=x.numel() * kernel * 2,
    )
    return y, end


@torch.library.custom_op("lamina::short_conv", mutates_args=(), device_types="cpu")
def _operator(x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor) -> tuple[Tensor, Tensor]:
    return _forward(x, weight, bias, state)


@_operator.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), state.new_empty(state.shape)


@torch.library.custom_op("lamina::short_conv_backward", mutates_args=(), device_types="cpu")
def _backward(
    x: Tensor, weight: Tensor, state: Tensor, dy: Tensor, d_end: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    (batch, frames, channels), kernel = x.shape, weight.shape[1]
    x = rows_first(x)
    dx, d_begin = x.new_empty(x.shape), state.new_empty(state.shape)
    tasks = batch * -(-(frames + kernel - 1) // FRAMES)
    d_weight, d_bias = x.new_empty(tasks, kernel, channels), x.new_empty(tasks, channels)
    given = [x, weight.contiguous(), state.contiguous(), dy.contiguous(), d_end.contiguous()]
    _kernels().backward(
        [*given, dx, d_begin, d_weight, d_bias],
        [batch, frames, channels, kernel, *x.stride()[:2], FRAMES],
        tasks=tasks,
        work=x.numel() * kernel * 4,
    )
    return dx, d_weight.sum(0).t().contiguous(), d_bias.sum(0), d_begin


@_backward.register_fake
def _(x: Tensor, weight: Tensor, state: Tensor, dy: Tensor, d_end: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dx, d_weight, d_begin = (t.new_empty(t.shape) for t in (x, weight, state))
    return dx, d_weight, x.new_empty(x.shape[2]), d_begin


def _keep(ctx: Any, inputs: tuple[Tensor | None, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, dy: Tensor, d_end: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, bias, state = ctx.saved_tensors
    if torch.is_grad_enabled():
        run = lambda x, weight, bias, state: ref.short_conv(x, weight, bias, None, state)  # noqa: E731
        return differentiable(run, (x, weight, bias, state), (dy, d_end))
    dx, d_weight, d_bias, d_begin = _backward(x, weight, state, dy, d_end)
    return dx, d_weight, None if bias is None else d_bias, d_begin


_operator.register_autograd(_differentiate, setup_context=_keep)


@register_flop_formula(torch.ops.lamina.short_conv)
def _flops(x: tuple[int, ...], weight: tuple[int, ...], *_: Any, **__: Any) -> int:
    """A multiplication and an addition a tap."""
    return 2 * prod(x) * weight[1]


@register_flop_formula(torch.ops.lamina.short_conv_backward)
def _flops_backward(x: tuple[int, ...], weight: tuple[int, ...], *_: Any, **__: Any) -> int:
    return 4 * prod(x) * weight[1]
