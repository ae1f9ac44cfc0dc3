"""The delta rule's kernels as PyTorch operators."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from lamina.ops._delta_rule import chunk
from lamina.ops._native import CHUNK, differentiable, kernels_of, layout, needs_graph, rows_first
from lamina.ops._retention.native import decay_gradient

__all__ = ["delta_rule"]


_kernels = kernels_of(__package__)


def delta_rule(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None, state: Tensor
) -> tuple[Tensor, Tensor]:
    """S <- exp(log_decay_t) S;  S <- S + beta_t k_t (v_t - S^T k_t)^T;  o_t = S^T q_t."""
    run = _operator if needs_graph(q, k, v, beta, log_decay, state) else _run
    return run(q, k, v, beta, log_decay, state)[:2]


def _run(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None, state: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The outputs, the last state and the errors v_t - S^T k_t."""
    q, k, v = rows_first(q), rows_first(k), rows_first(v)
    return _forwards(k, q, k, v, beta, _decays(beta, log_decay), state, closed=True)


def _decays(beta: Tensor, log_decay: Tensor | None) -> Tensor:
    return beta.new_zeros(()).expand(beta.shape) if log_decay is None else log_decay


def _shape(rows: Tensor, columns: Tensor, turned: bool) -> tuple[list[int], list[int]]:
    """The kernels' sizes, and the steps from row to row and column to column of a state."""
    n_rows, n_columns = rows.shape[3], columns.shape[3]
    return [*rows.shape, n_columns], [1, n_rows] if turned else [n_columns, 1]


def _steps(*tensors: Tensor) -> list[int]:
    return [step for t in tensors for step in t.stride()[:3]]


def _forwards(
    write: Tensor, read: Tensor, following: Tensor, columns: Tensor, beta: Tensor, log_decay: Tensor, begin: Tensor,
    *, closed: bool = False, kept: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """One pass from the first frame to the last; the state is turned where the columns are those of k."""
    out, answers, end = columns.new_empty(columns.shape), columns.new_empty(columns.shape), torch.empty_like(begin)
    sizes, state_steps = _shape(write, columns, turned=not closed)
    steps = _steps(write, read, following, columns, beta, log_decay)
    _kernels().forwards(
        [write, read, following, columns, beta, log_decay, begin, out, answers, end, out if kept is None else kept],
        [*sizes, int(closed), int(kept is not None), *state_steps, *steps],
        tasks=sizes[0] * sizes[2] * layout(columns)[0],
        work=columns.numel() * sizes[3] * 6,
    )
    return out, end, answers


def _backwards(
    erase: Tensor, add: Tensor, read: Tensor, g: Tensor, f: Tensor, beta: Tensor, log_decay: Tensor, begin: Tensor,
    *, closed: bool = False, kept: Tensor | None = None, anchors: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One pass from the last frame to the first; where closed, f is written."""
    out, end = g.new_empty(g.shape), torch.empty_like(begin)
    sizes, state_steps = _shape(erase, g, turned=not closed)
    spare = [out, out] if kept is None or anchors is None else [kept, anchors]
    _kernels().backwards(
        [erase, add, read, g, f, beta, log_decay, begin, out, end, *spare],
        [*sizes, int(closed), int(kept is not None), *state_steps, *_steps(erase, add, read, g, f, beta, log_decay)],
        tasks=sizes[0] * sizes[2] * layout(g)[0],
        work=g.numel() * sizes[3] * 6,
    )
    return out, end


@torch.library.custom_op("lamina::delta_rule", mutates_args=(), device_types="cpu")
def _operator(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None, state: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return _run(q, k, v, beta, log_decay, state.contiguous())


@_operator.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None, state: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return v.new_empty(v.shape), state.new_empty(state.shape), v.new_empty(v.shape)


@torch.library.custom_op("lamina::delta_rule_backward", mutates_args=(), device_types="cpu")
def _backward(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None, state: Tensor, errors: Tensor,
    do: Tensor, d_end: Tensor, decays: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    q, k, do, d_end, state = rows_first(q), rows_first(k), rows_first(do), d_end.contiguous(), state.contiguous()
    fading, kept, anchors = _decays(beta, log_decay), None, None
    if decays:
        (batch, frames, heads, rows), (tiles, wide) = v.shape, layout(k)
        kept = k.new_empty(batch, heads, tiles, -(-frames // CHUNK), rows, wide)
        anchors = k.new_empty(kept.shape[:4])
    dv = v.new_empty(v.shape)  # beta du, which the pass writes and reads
    du, d_begin = _backwards(k, q, k, do, dv, beta, fading, d_end, closed=True)
    u = beta[..., None] * errors
    dq, _, z = _forwards(u, do, dv, k, beta, fading, state, kept=kept)
    dk, _ = _backwards(dv, do, u, q, k, beta, fading, d_end, kept=kept, anchors=anchors)
    d_beta = (du * errors).sum(-1)
    if anchors is None:
        return dq, dk - z, dv, d_beta, q.new_empty(0), d_begin
    return dq, dk - z, dv, d_beta, decay_gradient(anchors, (q.double() * dq - k.double() * (dk + z)).sum(-1)), d_begin


@_backward.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None, state: Tensor, errors: Tensor,
    do: Tensor, d_end: Tensor, decays: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    dq, dk, dv, d_beta, d_begin = (t.new_empty(t.shape) for t in (q, k, v, beta, d_end))
    return dq, dk, dv, d_beta, beta.new_empty(beta.shape if decays else 0), d_begin


def _keep(ctx: Any, inputs: tuple[Tensor | None, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs, output[2])
    ctx.mark_non_differentiable(output[2])


def _differentiate(ctx: Any, do: Tensor, d_end: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    *inputs, errors = ctx.saved_tensors
    if torch.is_grad_enabled():
        return differentiable(chunk.delta_rule, inputs, (do, d_end))
    decays = ctx.needs_input_grad[4]
    dq, dk, dv, d_beta, d_decay, d_begin = _backward(*inputs, errors, do, d_end, decays)
    return dq, dk, dv, d_beta, d_decay if decays else None, d_begin


_operator.register_autograd(_differentiate, setup_context=_keep)


@register_flop_formula(torch.ops.lamina.delta_rule)
def _flops(q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], *_: Any, **__: Any) -> int:
    """What the key finds, the write and the read, a multiplication and an addition each: 6 * K * V a frame and head."""
    return 6 * prod(q) * v[3]


@register_flop_formula(torch.ops.lamina.delta_rule_backward)
def _flops_backward(q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], *_: Any, **__: Any) -> int:
    return 18 * prod(q) * v[3]  # three passes
