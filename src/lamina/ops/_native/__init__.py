"""Kernels for the CPU, compiled by numba at their first call: explicit vectors, PyTorch's own threads."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.ops.registry import tracing

__all__ = ["needs_graph", "refuses", "rows_first"]


def refuses(*inputs: Tensor | None) -> str | None:
    """The reason why compiled kernels cannot take these tensors, or None."""
    for tensor in inputs:
        if tensor is None:
            continue
        if tensor.device.type != "cpu":
            return "it is for the CPU"
        if tensor.dtype != torch.float32 and tensor.dtype != torch.float64:
            return f"it has no form for {tensor.dtype}"
        if not tensor.numel():
            return "there is nothing to do"
    return tracing()


def needs_graph(*inputs: Tensor | None) -> bool:
    """Whether PyTorch must see the call as an operator: a gradient is wanted, or a mode watches operators."""
    watched = torch._C._len_torch_dispatch_stack() > 0
    return watched or (torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs))


def rows_first(tensor: Tensor) -> Tensor:
    """The tensor with its last dimension contiguous: copied only where it is not."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()
