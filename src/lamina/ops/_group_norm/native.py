"""Group norm's kernels as PyTorch operators."""

from __future__ import annotations

from math import lcm
from typing import Any

import torch
from torch import Tensor

from lamina.ops import _native
from lamina.ops._group_norm import ref
from lamina.ops._native import BYTES, bits, differentiable, kernels_of, needs_graph

__all__ = ["group_norm", "refuses"]


_kernels = kernels_of(__package__)


def refuses(x: Tensor, *others: Tensor | None) -> str | None:
    """The reason why the kernels cannot take these tensors, or None."""
    if x.shape[1:-1].numel() < 2:
        return "an image of one place has no second row to keep sums in"
    return _native.refuses(x, *others)


def group_norm(
    x: Tensor, weight: Tensor, bias: Tensor, shift: Tensor | None, n_groups: int, eps: float, silu: bool
) -> Tensor:
    """norm(x + shift) times weight plus bias, through silu."""
    if needs_graph(x, weight, bias, shift):
        y: Tensor = _operator(x, weight, bias, shift, n_groups, eps, silu)[0]
        return y
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    return _forward(x, weight, bias, shift, n_groups, eps, silu, y, y, x[0].numel())


def _much(x: Tensor, n_groups: int) -> tuple[list[int], dict[str, int]]:
    """The sizes, with how many channels a task has, and how many tasks and operations there are."""
    images, channels = x.shape[0], x.shape[-1]
    size = channels // n_groups
    block = lcm(size, BYTES // x.element_size())
    if channels % block:
        block = channels
    sizes = [images, x.numel() // (images * channels), channels, size, block]
    return sizes, {"tasks": images * (channels // block), "work": x.numel() * 16}


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor, shift: Tensor | None, n_groups: int, eps: float, silu: bool, y: Tensor,
    held: Tensor, step: int,
) -> Tensor:  # fmt: skip
    """Writes y, and to held, `step` numbers an image, what the way back needs."""
    x = x.contiguous()
    sizes, much = _much(x, n_groups)
    shifts = x if shift is None else shift.contiguous()
    numbers = [*sizes, shift is not None, silu, step, bits(eps)]
    _kernels().forward([x, weight.contiguous(), bias.contiguous(), shifts, y, held], numbers, **much)
    return y


@torch.library.custom_op("lamina::group_norm", mutates_args=(), device_types="cpu")
def _operator(
    x: Tensor, weight: Tensor, bias: Tensor, shift: Tensor | None, n_groups: int, eps: float, silu: bool
) -> tuple[Tensor, Tensor]:
    y, held = x.new_empty(x.shape), x.new_empty(x.shape[0], 2, x.shape[-1])
    return _forward(x, weight, bias, shift, n_groups, eps, silu, y, held, 2 * x.shape[-1]), held


@_operator.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor, shift: Tensor | None, n_groups: int, eps: float, silu: bool
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape[0], 2, x.shape[-1])


@torch.library.custom_op("lamina::group_norm_backward", mutates_args=(), device_types="cpu")
def _backward(
    x: Tensor, weight: Tensor, bias: Tensor, held: Tensor, n_groups: int, silu: bool, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, dx = x.contiguous(), x.new_empty(x.shape)
    sizes, much = _much(x, n_groups)
    d_weight, d_bias, d_shift = x.new_empty(3, x.shape[0], x.shape[-1])
    inputs = [x, weight.contiguous(), bias.contiguous(), dy.contiguous(), held]
    outputs = [dx, d_weight, d_bias, d_shift, torch.empty_like(held)]
    _kernels().backward([*inputs, *outputs], [*sizes, silu], **much)
    return dx, d_weight.sum(0), d_bias.sum(0), d_shift.clone()


@_backward.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor, held: Tensor, n_groups: int, silu: bool, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    one = x.new_empty(x.shape[-1])
    return x.new_empty(x.shape), one, torch.empty_like(one), x.new_empty(x.shape[0], x.shape[-1])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.n_groups, ctx.eps, ctx.silu = inputs
    ctx.save_for_backward(*tensors, output[1])
    ctx.mark_non_differentiable(output[1])


def _differentiate(ctx: Any, dy: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    *inputs, held = ctx.saved_tensors
    if torch.is_grad_enabled():

        def run(x: Tensor, weight: Tensor, bias: Tensor, shift: Tensor | None) -> tuple[Tensor]:
            return (ref.group_norm(x, weight, bias, shift, ctx.n_groups, ctx.eps, ctx.silu),)

        return *differentiable(run, inputs, (dy,)), None, None, None
    x, weight, bias, shift = inputs
    *found, d_shift = _backward(x, weight, bias, held, ctx.n_groups, ctx.silu, dy)
    return *found, None if shift is None else d_shift, None, None, None


_operator.register_autograd(_differentiate, setup_context=_keep)
