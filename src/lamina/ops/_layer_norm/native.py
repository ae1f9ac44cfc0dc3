"""The kernel of layer norm, for the few frames of a stream's step: PyTorch's call takes longer than its work there."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.ops import _native
from lamina.ops._layer_norm import ref
from lamina.ops._native import bits, kernels_of, needs_graph

__all__ = ["layer_norm", "refuses", "yields"]

FEW = 16  # frames

_kernels = kernels_of(__package__)


def yields(x: Tensor, weight: Tensor, bias: Tensor) -> str | None:
    if x.numel() > FEW * x.shape[-1]:
        return "for more frames PyTorch's norm is as quick"
    return "PyTorch's norm has the gradient" if needs_graph(x, weight, bias) else None


def refuses(x: Tensor, weight: Tensor, bias: Tensor) -> str | None:
    if torch.is_autocast_enabled("cpu"):
        return "autocast chooses the dtype"
    if not weight.shape == bias.shape == x.shape[-1:]:
        return "the shapes do not fit"  # and PyTorch says how
    return _native.refuses(x, weight, bias)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """y = (x - mean) / sqrt(var + eps) * weight + bias."""
    if needs_graph(x, weight, bias):
        return ref.layer_norm(x, weight, bias, eps)
    y, frames = torch.empty_like(x, memory_format=torch.contiguous_format), x.numel() // x.shape[-1]
    _kernels().forward(
        [x.contiguous(), weight.contiguous(), bias.contiguous(), y],
        [frames, x.shape[-1], bits(eps)],
        tasks=frames,
        work=x.numel() * 16,
    )
    return y
