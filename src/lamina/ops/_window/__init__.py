"""Attention of a few new frames to a cache that is written over where it lies."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lamina.ops._shapes import Shapes
from lamina.ops._window import native, ref
from lamina.ops.registry import Impl, Op, tracing

__all__ = ["WINDOW_ROWS", "window_rows"]

WINDOW_ROWS = Op(
    "window_rows", Impl("numba", native.window_rows, native.refuses), Impl("ref", ref.window_rows, traces=True)
)
_SHAPES = Shapes(
    "window_rows",
    "q: R T H K", "k: R T H K", "v: R T H K", "allowed: R S", "keys: B n H K", "values: B n H K", "rows: R",
)  # fmt: skip


def window_rows(
    q: Tensor, k: Tensor, v: Tensor, allowed: Tensor, keys: Tensor, values: Tensor, rows: Tensor, *, impl: str = "auto"
) -> Tensor:
    """y_t = sum_s softmax_s(q_t . k_s / sqrt(K)) v_s over the n frames before frame t and itself (Vaswani et al. 2017).

    q, k, v [R,T,H,K] are new frames of the rows [R] int64 of a batch, each named once; keys, values [B,n,H,K] hold the
    last n frames of all its rows, zeros where there were none; allowed [R,n+T] says which of old and new are real.
    keys and values of those rows are written over: they hold the last n frames afterwards. -> y [R,T,H,K].
    """
    sizes = _SHAPES(q, k, v, allowed, keys, values, rows)
    if sizes["S"] != sizes["n"] + sizes["T"]:
        raise ValueError(f"window_rows: allowed has {sizes['S']} frames, the cache {sizes['n']} and x {sizes['T']}")
    if not tracing() and (rows.dtype != torch.int64 or not all(0 <= row < len(keys) for row in rows.tolist())):
        raise ValueError(f"window_rows: rows must be int64 within 0..{len(keys) - 1}")
    inputs = (q, k.to(keys.dtype), v.to(keys.dtype), allowed.contiguous(), keys, values, rows.contiguous())
    run: Callable[..., Tensor] = WINDOW_ROWS.choose(impl, *inputs).run
    return run(*inputs)
