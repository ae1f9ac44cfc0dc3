"""The delta rule: a linear memory that corrects what a key held before it writes."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lamina.ops._delta_rule import chunk, fla, native, ref
from lamina.ops._retention.fla import refuses as no_fla
from lamina.ops._retention.native import refuses
from lamina.ops._shapes import Shapes, one_dtype, working_dtype
from lamina.ops.registry import Impl, Op, short

__all__ = ["DELTA_RULE", "delta_rule"]

DELTA_RULE = Op(
    "delta_rule",
    Impl("numba", native.delta_rule, refuses),
    Impl("fla", fla.delta_rule, no_fla),
    Impl("chunk", chunk.delta_rule, yields=short, traces=True),
    Impl("ref", ref.delta_rule, traces=True),
)

_SHAPES = {  # by the dimensions of the decay: a number a head, or one a frame and head
    n: Shapes(
        "delta_rule", "q: B T H K", "k: B T H K", "v: B T H V", "beta: B T H", f"log_decay: {decays}", "state: B H K V"
    )
    for n, decays in ((1, "H"), (3, "B T H"))
}


def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None = None,
    state: Tensor | None = None,
    *,
    impl: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Decay, then write, then read: S <- exp(log_decay_t) S,  S <- S + beta_t k_t (v_t - S^T k_t)^T,  o_t = S^T q_t.

    q, k [B,T,H,K]; v [B,T,H,V]; beta [B,T,H]; log_decay [B,T,H] or [H], None for no decay; state [B,H,K,V], None for
    zeros -> o [B,T,H,V] in v's dtype and the state, float32 or wider. q is not scaled and k not normalised: with
    |k| = 1 and beta in 0..1 (2 with negative eigenvalues) nothing grows. An absent frame is beta 0, log_decay 0.
    Schlag et al. 2021, arXiv:2102.11174; Yang et al. 2024, arXiv:2406.06484; gated: Yang et al. 2024, arXiv:2412.06464.
    """
    by_head = log_decay is not None and log_decay.dim() == 1
    sizes = _SHAPES[1 if by_head else 3](q, k, v, beta, log_decay, state)
    dtype = working_dtype(q, k, v, beta, log_decay, state)
    if log_decay is not None:
        log_decay = log_decay.to(dtype).expand(q.shape[:3])
    if state is None:
        state = q.new_zeros([sizes[letter] for letter in "BHKV"], dtype=dtype)
    *queries, state = one_dtype(dtype, q, k, v, beta, state)
    inputs = (*queries, log_decay, state)
    run: Callable[..., tuple[Tensor, Tensor]] = DELTA_RULE.choose(impl, *inputs).run
    y, state = run(*inputs)
    return y.to(v.dtype), state
