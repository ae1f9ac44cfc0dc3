"""The kernel of GELU, for the few frames of a stream's step: oneDNN's call takes longer than its work there."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.ops import _native
from lamina.ops._gelu import ref
from lamina.ops._native import TASK, kernels_of, needs_graph

__all__ = ["gelu", "refuses", "yields"]

FEW = 1 << 14  # numbers

_kernels = kernels_of(__package__)


def yields(x: Tensor) -> str | None:
    if x.numel() > FEW:
        return "for more frames PyTorch's is as quick"
    return "PyTorch's has the gradient" if needs_graph(x) else None


def refuses(x: Tensor) -> str | None:
    if x.dtype != torch.float32:
        return "its series is exact to float32"
    return _native.refuses(x)


def gelu(x: Tensor) -> Tensor:
    """y = x/2 erfc(-x / sqrt 2)."""
    if needs_graph(x):
        return ref.gelu(x)
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    _kernels().forward([x.contiguous(), y], [x.numel(), TASK], tasks=-(-x.numel() // TASK), work=x.numel() * 40)
    return y
