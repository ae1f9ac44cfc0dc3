"""The selective scan: a diagonal linear recurrence whose step size, input and output depend on the frame."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lamina.ops._native.again import again
from lamina.ops._selective_scan import chunk, native, ref
from lamina.ops._shapes import Shapes, one_dtype, working_dtype
from lamina.ops.registry import Impl, Op, short

__all__ = ["SELECTIVE_SCAN", "selective_scan"]

SELECTIVE_SCAN = Op(
    "selective_scan",
    Impl("numba", native.selective_scan, native.refuses),
    Impl("chunk", chunk.selective_scan, yields=short, traces=True),
    Impl("ref", ref.selective_scan, traces=True),
)

_SHAPES = Shapes(
    "selective_scan", "x: B T C", "dt: B T C", "A: C N", "B: B T N", "C: B T N", "D: C", "state: B C N"
)  # fmt: skip


@again
def selective_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    state: Tensor | None = None,
    *,
    impl: str = "auto",
) -> tuple[Tensor, Tensor]:
    """h <- exp(dt_t A) h + dt_t B_t x_t,  y_t = C_t . h + D x_t for every channel.

    x, dt [B,T,C], dt positive (past softplus); A [C,N], the negative matrix itself, not its log; B, C [B,T,N]; D [C];
    state [B,C,N], None for zeros -> y [B,T,C] in x's dtype and the state, float32 or wider. An absent frame is dt 0.
    Gu & Dao 2023, arXiv:2312.00752.
    """
    sizes = _SHAPES(x, dt, A, B, C, D, state)
    dtype = working_dtype(x, dt, A, B, C, D, state)
    if state is None:
        state = x.new_zeros([sizes[letter] for letter in "BCN"], dtype=dtype)
    inputs = one_dtype(dtype, x, dt, A, B, C, D, state)
    run: Callable[..., tuple[Tensor, Tensor]] = SELECTIVE_SCAN.choose(impl, *inputs).run
    y, state = run(*inputs)
    return y.to(x.dtype), state
