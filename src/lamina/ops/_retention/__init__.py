"""Retention: linear attention whose memory fades by a decay a head, fixed or data-dependent."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lamina.ops._native.again import again
from lamina.ops._retention import chunk, fla, native, ref
from lamina.ops._shapes import Shapes, one_dtype, working_dtype
from lamina.ops.registry import Impl, Op, short

__all__ = ["RETENTION", "retention"]

RETENTION = Op(
    "retention",
    Impl("numba", native.retention, native.refuses),
    Impl("fla", fla.retention, fla.refuses),
    Impl("chunk", chunk.retention, yields=short, traces=True),
    Impl("ref", ref.retention, traces=True),
)

_SHAPES = {  # by the dimensions of the decay: a number a head, or one a frame and head
    n: Shapes("retention", "q: B T H K", "k: B T H K", "v: B T H V", f"log_decay: {decays}", "state: B H K V")
    for n, decays in ((1, "H"), (3, "B T H"))
}


@again
def retention(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor | None = None, *, impl: str = "auto"
) -> tuple[Tensor, Tensor]:
    """Decay, then write, then read: S <- exp(log_decay_t) S,  S <- S + k_t v_t^T,  o_t = S^T q_t.

    q, k [B,T,H,K]; v [B,T,H,V]; log_decay [H] or [B,T,H], at most 0; state [B,H,K,V], None for zeros
    -> o [B,T,H,V] in v's dtype and the state, float32 or wider. q is not scaled. An absent frame is k 0, log_decay 0.
    Sun et al. 2023, arXiv:2307.08621 (fixed decay); Sun et al. 2024, arXiv:2405.05254 (data-dependent).
    """
    sizes = _SHAPES[1 if log_decay.dim() == 1 else 3](q, k, v, log_decay, state)
    dtype = working_dtype(q, k, v, log_decay, state)
    if state is None:
        state = q.new_zeros([sizes[letter] for letter in "BHKV"], dtype=dtype)
    inputs = one_dtype(dtype, q, k, v, log_decay.expand(q.shape[:3]), state)
    run: Callable[..., tuple[Tensor, Tensor]] = RETENTION.choose(impl, *inputs).run
    y, state = run(*inputs)
    return y.to(v.dtype), state
