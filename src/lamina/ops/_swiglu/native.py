"""SwiGLU's kernels as PyTorch operators."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lamina.ops._native import TASK, differentiable, kernels_of, needs_graph, rows
from lamina.ops._swiglu import ref

__all__ = ["swiglu"]


_kernels = kernels_of(__package__)


def swiglu(gate: Tensor, value: Tensor) -> Tensor:
    """y = silu(gate) * value."""
    if needs_graph(gate, value):
        y: Tensor = _operator(gate, value)
        return y
    return _forward(gate, value)


def _given(gate: Tensor, value: Tensor) -> tuple[list[Tensor], list[int], dict[str, int]]:
    """A kernel's inputs, its numbers, and how many tasks and operations it has."""
    total, size = gate.numel(), gate.shape[2]
    frames, block = total // size, max(1, TASK // size)
    (gate, (gate_step, _)), (value, (value_step, _)) = rows(gate), rows(value)
    numbers = [frames, size, block, gate_step, value_step]
    return [gate, value], numbers, {"tasks": -(-frames // block), "work": total * 16}


def _forward(gate: Tensor, value: Tensor) -> Tensor:
    inputs, numbers, much = _given(gate, value)
    y = torch.empty_like(gate, memory_format=torch.contiguous_format)
    _kernels().forward([*inputs, y], numbers, **much)
    return y


@torch.library.custom_op("lamina::swiglu", mutates_args=(), device_types="cpu")
def _operator(gate: Tensor, value: Tensor) -> Tensor:
    return _forward(gate, value)


@_operator.register_fake
def _(gate: Tensor, value: Tensor) -> Tensor:
    return gate.new_empty(gate.shape)


@torch.library.custom_op("lamina::swiglu_backward", mutates_args=(), device_types="cpu")
def _backward(gate: Tensor, value: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
    inputs, numbers, much = _given(gate, value)
    d_gate, d_value = gate.new_empty(gate.shape), gate.new_empty(gate.shape)
    _kernels().backward([*inputs, dy.contiguous(), d_gate, d_value], numbers, **much)
    return d_gate, d_value


@_backward.register_fake
def _(gate: Tensor, value: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
    return gate.new_empty(gate.shape), gate.new_empty(gate.shape)


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    inputs = ctx.saved_tensors
    if torch.is_grad_enabled():
        return differentiable(lambda *given: (ref.swiglu(*given),), inputs, (dy,))
    return _backward(*inputs, dy)


_operator.register_autograd(_differentiate, setup_context=_keep)
