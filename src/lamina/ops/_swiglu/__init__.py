"""The gate of gated networks: silu of one half times the other."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lamina.ops._native import refuses
from lamina.ops._native.again import again
from lamina.ops._shapes import Shapes
from lamina.ops._swiglu import native, ref
from lamina.ops.registry import Impl, Op

__all__ = ["SWIGLU", "swiglu"]

SWIGLU = Op("swiglu", Impl("numba", native.swiglu, refuses), Impl("ref", ref.swiglu, traces=True))

_SHAPES = Shapes("swiglu", "gate: B T D", "value: B T D")


@again
def swiglu(gate: Tensor, value: Tensor, *, impl: str = "auto") -> Tensor:
    """y = silu(gate) * value, both [B,T,D] -> [B,T,D]. Shazeer 2020, arXiv:2002.05202."""
    _SHAPES(gate, value)
    run: Callable[..., Tensor] = SWIGLU.choose(impl, gate, value).run
    return run(gate, value)
