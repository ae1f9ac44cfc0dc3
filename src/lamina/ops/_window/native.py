"""The kernel of attention to a cache in place, for the few frames of a stream's step."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.ops import _native
from lamina.ops._native import kernels_of, needs_graph

__all__ = ["refuses", "window_rows"]

_kernels = kernels_of(__package__)


def refuses(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor, keys: Tensor, values: Tensor, rows: Tensor) -> str | None:
    if needs_graph(q, k, v, keys, values):
        return "it writes in place, and has no gradient"
    if not (keys.is_contiguous() and values.is_contiguous()):
        return "the cache is not contiguous"
    scratch = (keys.shape[1] + q.shape[-1]) * q.element_size()  # a frame's scores and its query
    return _native.refuses(q, k, v, keys, values) or _native.beyond_stack(scratch)


def window_rows(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor, keys: Tensor, values: Tensor, rows: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(K)) v, and the cache moves on."""
    (batch, frames, heads, size), kept = q.shape, keys.shape[1]
    y = torch.empty_like(q, memory_format=torch.contiguous_format)
    _kernels().window(
        [q.contiguous(), k.contiguous(), v.contiguous(), allowed.to(q.dtype), keys, values, y, rows],
        [batch, frames, kept, heads, size],
        tasks=batch,
        work=batch * frames * kept * heads * size * 4,
    )
    return y
