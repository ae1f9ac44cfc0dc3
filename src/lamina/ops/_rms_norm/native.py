"""RMS norm's kernels as PyTorch operators."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lamina.ops._native import TASK, bits, differentiable, kernels_of, needs_graph, rows
from lamina.ops._rms_norm import ref

__all__ = ["rms_norm"]


_kernels = kernels_of(__package__)


def rms_norm(x: Tensor, weight: Tensor | None, gate: Tensor | None, eps: float) -> Tensor:
    """y = x / sqrt(mean(x^2) + eps) * weight * silu(gate)."""
    if needs_graph(x, weight, gate):
        y: Tensor = _operator(x, weight, gate, eps)
        return y
    return _forward(x, weight, gate, eps)


def _given(
    x: Tensor, weight: Tensor | None, gate: Tensor | None, eps: float
) -> tuple[list[Tensor], list[int], dict[str, int]]:
    """A kernel's inputs, its numbers, and how many tasks and operations it has."""
    shape, total = x.shape, x.numel()
    size, heads = shape[-1], shape[2] if len(shape) == 4 else 1
    frames, block = total // (size * heads), max(1, TASK // (size * heads))
    x, x_steps = rows(x)
    inputs = [x, x, x]
    gate_steps = x_steps
    if weight is not None:
        inputs[1] = weight.contiguous()
    if gate is not None:
        inputs[2], gate_steps = rows(gate)
    flags = weight is not None, gate is not None
    numbers = [frames, heads, size, block, *flags, *x_steps, *gate_steps, bits(eps)]
    return inputs, numbers, {"tasks": -(-frames // block), "work": total * 16}


def _forward(x: Tensor, weight: Tensor | None, gate: Tensor | None, eps: float) -> Tensor:
    inputs, numbers, much = _given(x, weight, gate, eps)
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    _kernels().forward([*inputs, y], numbers, **much)
    return y


@torch.library.custom_op("lamina::rms_norm", mutates_args=(), device_types="cpu")
def _operator(x: Tensor, weight: Tensor | None, gate: Tensor | None, eps: float) -> Tensor:
    return _forward(x, weight, gate, eps)


@_operator.register_fake
def _(x: Tensor, weight: Tensor | None, gate: Tensor | None, eps: float) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("lamina::rms_norm_backward", mutates_args=(), device_types="cpu")
def _backward(
    x: Tensor, weight: Tensor | None, gate: Tensor | None, eps: float, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    inputs, numbers, much = _given(x, weight, gate, eps)
    dx, d_gate = x.new_empty(x.shape), x.new_empty(0 if gate is None else x.shape)
    parts = x.new_empty(much["tasks"], 0 if weight is None else x.shape[-1])
    _kernels().backward([*inputs, dy.contiguous(), dx, parts, d_gate], numbers, **much)
    return dx, parts.sum(0), d_gate


@_backward.register_fake
def _(x: Tensor, weight: Tensor | None, gate: Tensor | None, eps: float, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dx, d_gate = x.new_empty(x.shape), x.new_empty(0 if gate is None else x.shape)
    return dx, x.new_empty(0 if weight is None else x.shape[-1]), d_gate


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.eps = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    inputs = ctx.saved_tensors
    if torch.is_grad_enabled():
        return *differentiable(lambda x, weight, gate: (ref.rms_norm(x, weight, gate, ctx.eps),), inputs, (dy,)), None
    found = _backward(*inputs, ctx.eps, dy)
    return *(None if t is None else d for t, d in zip(inputs, found, strict=True)), None


_operator.register_autograd(_differentiate, setup_context=_keep)
