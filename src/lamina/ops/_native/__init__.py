"""Kernels for the CPU, compiled by numba at their first call: explicit vectors, PyTorch's own threads.

Numba takes half a second to import, so only the modules of kernels do, and they are imported at the first call.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from lamina.ops.registry import captures, tracing

__all__ = [
    "BLOCK",
    "BYTES",
    "CHUNK",
    "TASK",
    "WIDE",
    "beyond_stack",
    "bits",
    "differentiable",
    "kernels_of",
    "layout",
    "needs_graph",
    "refuses",
    "rows",
    "rows_first",
    "vectors_for",
    "watched",
]

BYTES = 64  # of a vector
WIDE = 4  # vectors that a kernel works on side by side
CHUNK = 16  # frames between the states that are kept for the way back
TASK = 1 << 13  # numbers of a task where frames do not hang on each other
STACK = 1 << 18  # bytes of scratch: some systems give a thread twice that as its whole stack
BLOCK = 64  # channels of a task where a channel's state is the vector


def kernels_of(package: str | None) -> Callable[[], Any]:
    """What gives the module of an op's kernels, which is imported at the first call."""

    @cache
    def kernels() -> Any:
        return import_module(f"{package}.kernels")

    return kernels


def bits(number: float) -> int:
    """A number that is not whole, as the argument of a kernel that `real` reads."""
    return int.from_bytes(struct.pack("=d", number), sys.byteorder, signed=True)


def vectors_for(columns: int, one: int) -> int:
    """Vectors of `one` numbers in a tile: not more than there is work for."""
    return WIDE if columns > 2 * one else 2 if columns > one else 1


def layout(columns: Tensor) -> tuple[int, int]:
    """How many tiles the last dimension makes, and how many columns one has."""
    one, count = BYTES // columns.element_size(), columns.shape[-1]
    wide = one * vectors_for(count, one)
    return -(-count // wide), wide


def refuses(*inputs: Tensor | None) -> str | None:
    """The reason why compiled kernels cannot take these tensors, or None."""
    kind = None
    for tensor in inputs:
        if tensor is None:
            continue
        if not tensor.is_cpu:
            return "it is for the CPU"
        dtype = tensor.dtype
        if dtype is not kind:
            if kind is not None:
                return f"it has no form for {kind} beside {dtype}"
            if dtype is not torch.float32 and dtype is not torch.float64:
                return f"it has no form for {dtype}"
            kind = dtype
        if not tensor.numel():
            return "there is nothing to do"
    return tracing()


def beyond_stack(size: int) -> str | None:
    """The reason why a kernel cannot have scratch of so many bytes, or None."""
    return f"its scratch of {size:,} bytes is too large for a thread's stack" if size > STACK else None


def needs_graph(*inputs: Tensor | None) -> bool:
    """Whether PyTorch must see the call as an operator: a gradient is wanted, or a mode watches operators."""
    return watched() or (torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs))


def watched() -> bool:
    """Whether a mode watches operators: it counts their FLOPs, or works with tensors that hold no numbers.

    A capture does neither: it wants the kernels themselves.
    """
    return bool(torch._C._len_torch_dispatch_stack() > 0) and getattr(captures, "told", None) is None


def differentiable(
    run: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Tensor | None], gradients: Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """The gradients of run's inputs, made so that they can be differentiated in turn: kernels have no such form."""
    wanted = [t for t in inputs if t is not None]
    found = iter(torch.autograd.grad(run(*inputs), wanted, gradients, create_graph=True, allow_unused=True))
    return tuple(None if t is None else next(found) for t in inputs)


def rows(tensor: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """[B,T,D] or [B,T,H,D] as rows of D: the steps from frame to frame, batch after batch, and from head to head.

    Copied only where one step does not lead from each frame to the next.
    """
    shape, steps = tensor.shape, tensor.stride()
    if steps[-1] == 1 and len(shape) in (3, 4) and (shape[0] == 1 or shape[1] == 1 or steps[0] == shape[1] * steps[1]):
        return tensor, (steps[1] if shape[1] > 1 else steps[0], steps[2] if len(shape) == 4 else 0)
    size = shape[-1]
    return tensor.contiguous(), (size * (shape[2] if len(shape) == 4 else 1), size)


def rows_first(tensor: Tensor) -> Tensor:
    """The tensor with its last dimension contiguous: copied only where it is not."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()
