"""The kernel of the product, for the few frames of a stream's step."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.ops import _native
from lamina.ops._linear import ref
from lamina.ops._native import kernels_of, needs_graph

__all__ = ["linear", "refuses", "yields"]

FEW = 4  # frames
SMALL = 1 << 12  # numbers of a matrix
BLOCK = 64  # rows of a task


_kernels = kernels_of(__package__)


def yields(x: Tensor, weight: Tensor, bias: Tensor | None) -> str | None:
    if x.numel() > FEW * x.shape[-1]:
        return "for more frames PyTorch's product is as quick"
    if weight.numel() < SMALL:
        return "for so small a matrix PyTorch's product is as quick"
    return "PyTorch's product has the gradient" if needs_graph(x, weight, bias) else None


def refuses(x: Tensor, weight: Tensor, bias: Tensor | None) -> str | None:
    if torch.is_autocast_enabled("cpu"):
        return "autocast chooses the dtype"
    if x.shape[-1] != weight.shape[1] or (bias is not None and bias.shape != weight.shape[:1]):
        return "the shapes do not fit"  # and PyTorch says how
    return _native.refuses(x, weight, bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """y = W x + b."""
    if needs_graph(x, weight, bias):
        return ref.linear(x, weight, bias)
    (*frames, size), rows = x.shape, weight.shape[0]
    y = x.new_empty((*frames, rows))
    _kernels().product(
        [x.contiguous(), weight.contiguous(), weight if bias is None else bias.contiguous(), y],
        [x.numel() // size, size, rows, BLOCK, bias is not None],
        tasks=-(-rows // BLOCK),
        work=weight.numel() * 8,
    )
    return y
