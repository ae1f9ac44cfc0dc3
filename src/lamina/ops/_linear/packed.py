"""The product through oneDNN with weights that are laid out once, for some tens of frames.

PyTorch's product lays the matrix out anew at every call, which for 16 frames takes longer than the product itself. What
has been laid out must not change meanwhile; so it is for whoever holds the weights still: `with packed_weights():`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from lamina.ops._native import needs_graph
from lamina.ops.registry import tracing

__all__ = ["linear", "packed_weights", "refuses", "yields"]

FEW, MANY = 4, 64  # frames: up to the first there is a kernel of our own, beyond the second nothing is gained
SMALL = 1 << 14  # numbers of a matrix

# weight's id -> the weight, which keeps the id its own, and what oneDNN made of it; None outside of a block
_held: ContextVar[dict[int, tuple[Tensor, Tensor]] | None] = ContextVar("lamina_packed", default=None)


@contextmanager
def packed_weights() -> Iterator[None]:
    """Inside the block `ops.linear` lays each weight out at its first use and keeps that: none may change meanwhile."""
    token = _held.set({})
    try:
        yield
    finally:
        _held.reset(token)


def yields(x: Tensor, weight: Tensor, bias: Tensor | None) -> str | None:
    if _held.get() is None:
        return "the weights may change at any time: `with packed_weights()` says that they do not"
    if not isinstance(weight, nn.Parameter):
        return "this is no parameter, which would be met again"
    if not FEW * x.shape[-1] < x.numel() <= MANY * x.shape[-1]:
        return "for so many frames, or so few, it is not quicker"
    return "for so small a matrix it is not quicker" if weight.numel() < SMALL else None


def refuses(x: Tensor, weight: Tensor, bias: Tensor | None) -> str | None:
    given = [x, weight] if bias is None else [x, weight, bias]
    if any(t.dtype != torch.float32 or not t.is_cpu for t in given) or torch.is_autocast_enabled("cpu"):
        return "it is for float32 on a CPU"
    if x.shape[-1] != weight.shape[1] or (bias is not None and bias.shape != weight.shape[:1]):
        return "the shapes do not fit"  # and PyTorch says how
    if not x.numel():
        return "there is nothing to do"
    if needs_graph(x, weight, bias):
        return "it has no gradient"
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return "this PyTorch has no oneDNN"
    return tracing()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """y = W x + b."""
    frames, held = x.reshape(-1, x.shape[-1]), _held.get()
    found = None if held is None else held.get(id(weight))
    if found is None:
        found = weight, torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), len(frames))
        if held is not None:
            held[id(weight)] = found
    y: Tensor = torch.ops.mkldnn._linear_pointwise(frames, found[1], bias, "none", [], "")
    return y.unflatten(0, x.shape[:-1])
