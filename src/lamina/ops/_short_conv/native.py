"""The short convolution's kernel, for the few frames of a stream's step."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from lamina.ops import _native
from lamina.ops._native import needs_graph, rows
from lamina.ops._short_conv import ref

__all__ = ["refuses", "short_conv", "yields"]

FEW = 8  # frames


@cache
def _kernels() -> Any:
    return import_module("lamina.ops._short_conv.kernels")


def refuses(x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, state: Tensor) -> str | None:
    return _native.refuses(x, weight, bias)


def yields(x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, state: Tensor) -> str | None:
    if x.shape[1] > FEW:
        return "it is made for a few frames"
    if mask is not None:
        return "it knows no absent frames"
    return "it has no gradient" if needs_graph(x, weight, bias, state) else None


def short_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, state: Tensor
) -> tuple[Tensor, Tensor]:
    """y_t = bias + sum_i weight_i x_{t-(kernel-1)+i}; the definition where it is asked for what it does not know."""
    if mask is not None or needs_graph(x, weight, bias, state):
        return ref.short_conv(x, weight, bias, mask, state)
    (batch, frames, channels), kernel = x.shape, weight.shape[1]
    x, (step, _) = rows(x)
    y, end = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (x, state))
    _kernels().slide(
        [x, weight.contiguous(), weight if bias is None else bias.contiguous(), state.contiguous(), y, end],
        [batch, frames, channels, kernel, step, bias is not None],
        tasks=batch,
        work=x.numel() * kernel * 4,
    )
    return y, end
