"""Retention's kernel as PyTorch operators."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from lamina.ops import _native
from lamina.ops._native import CHUNK, differentiable, kernels_of, layout, needs_graph, rows_first
from lamina.ops._retention import chunk

__all__ = ["decay_gradient", "refuses", "retention"]


_kernels = kernels_of(__package__)


def refuses(*inputs: Tensor | None) -> str | None:
    """Of the delta rule too: the last input is the state [B,H,K,V], and a tile has all its rows or all its columns."""
    state = inputs[-1]
    assert state is not None
    return _native.refuses(*inputs) or _native.beyond_stack(max(state.shape[-2:]) * _native.WIDE * _native.BYTES)


def retention(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """S <- exp(log_decay_t) S + k_t v_t^T,    o_t = S^T q_t."""
    if needs_graph(q, k, v, log_decay, state):
        return _operator(q, k, v, log_decay, state)
    return _pass(q, k, v, log_decay, state)


def _pass(
    read: Tensor,
    write: Tensor,
    values: Tensor,
    log_decay: Tensor,
    begin: Tensor,
    *,
    backwards: bool = False,
    turned: bool = False,
    kept: Tensor | None = None,
    anchors: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One pass of the kernel over read, write [B,T,H,R] and values [B,T,H,C]; the state is [B,H,R,C], or [B,H,C,R]
    where turned. With `kept` alone the tiles are kept there; with both the gradients at chunks' starts are found."""
    read, write, values, begin = rows_first(read), rows_first(write), rows_first(values), begin.contiguous()
    (batch, frames, heads, rows), columns = read.shape, values.shape[3]
    out, end = torch.empty_like(values, memory_format=torch.contiguous_format), torch.empty_like(begin)
    spare = out if kept is None else kept
    steps = [step for t in (read, write, values, log_decay) for step in t.stride()[:3]]
    keep = (kept is not None) + (anchors is not None)
    _kernels().retain(
        [read, write, values, log_decay, begin, out, end, spare, spare if anchors is None else anchors],
        [batch, frames, heads, rows, columns, int(backwards), keep, *steps, *((1, rows) if turned else (columns, 1))],
        tasks=batch * heads * layout(values)[0],
        work=batch * frames * heads * rows * columns * 4,
    )
    return out, end


@torch.library.custom_op("lamina::retention", mutates_args=(), device_types="cpu")
def _operator(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    return _pass(q, k, v, log_decay, state)


@_operator.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    return v.new_empty(v.shape), state.new_empty(state.shape)


@torch.library.custom_op("lamina::retention_backward", mutates_args=(), device_types="cpu")
def _backward(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor, do: Tensor, d_end: Tensor, decays: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    kept = anchors = None
    if decays:
        (batch, frames, heads, rows), (tiles, wide) = v.shape, layout(k)
        kept = k.new_empty(batch, heads, tiles, -(-frames // CHUNK), rows, wide)
        anchors = k.new_empty(kept.shape[:4])
    dq, _ = _pass(do, v, k, log_decay, state, turned=True, kept=kept)
    dv, d_begin = _pass(k, q, do, log_decay, d_end, backwards=True)
    dk, _ = _pass(v, do, q, log_decay, d_end, backwards=True, turned=True, kept=kept, anchors=anchors)
    if anchors is None:
        return dq, dk, dv, q.new_empty(0), d_begin
    return dq, dk, dv, decay_gradient(anchors, (q.double() * dq - k.double() * dk).sum(-1)), d_begin


def decay_gradient(anchors: Tensor, change: Tensor) -> Tensor:
    """The gradient of log_decay, [B,T,H], from its value at each chunk's first frame and its change frame by frame.

    anchors [B,H,tiles,n], change [B,T,H]. g_t = <decayed S_t, its gradient>, and g_t - g_{t+1} = change_t. Summed from
    the end of the input the rounding would grow with its length; so it begins anew at every chunk.
    """
    frames, first = change.shape[1], anchors.sum(2).transpose(1, 2)[:, :, None]  # [B,n,1,H]
    chunks = F.pad(change, (0, 0, 0, -frames % CHUNK)).unflatten(1, (-1, CHUNK))
    before = chunks.cumsum(2) - chunks
    return (first - before).flatten(1, 2)[:, :frames].to(anchors.dtype)


@_backward.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor, do: Tensor, d_end: Tensor, decays: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    dq, dk, dv, d_begin = (t.new_empty(t.shape) for t in (q, k, v, d_end))
    return dq, dk, dv, log_decay.new_empty(log_decay.shape if decays else 0), d_begin


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, do: Tensor, d_end: Tensor) -> tuple[Tensor | None, ...]:
    inputs = ctx.saved_tensors
    if torch.is_grad_enabled():
        return differentiable(chunk.retention, inputs, (do, d_end))
    decays = ctx.needs_input_grad[3]
    dq, dk, dv, d_decay, d_begin = _backward(*inputs, do, d_end, decays)
    return dq, dk, dv, d_decay if decays else None, d_begin


_operator.register_autograd(_differentiate, setup_context=_keep)


@register_flop_formula(torch.ops.lamina.retention)
def _flops(q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], *_: Any, **__: Any) -> int:
    """The write and the read, a multiplication and an addition each: 4 * K * V a frame and head."""
    return 4 * prod(q) * v[3]


@register_flop_formula(torch.ops.lamina.retention_backward)
def _flops_backward(q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], *_: Any, **__: Any) -> int:
    return 12 * prod(q) * v[3]  # three passes
