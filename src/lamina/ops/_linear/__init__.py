"""The product with a matrix of weights; a single frame of a stream has a kernel of its own, and some tens of frames
weights that are laid out once.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lamina.ops._linear import native, packed, ref
from lamina.ops._linear.packed import packed_weights
from lamina.ops._native.again import again
from lamina.ops.registry import Impl, Op

__all__ = ["LINEAR", "linear", "packed_weights"]

LINEAR = Op(
    "linear",
    Impl("numba", native.linear, native.refuses, native.yields),
    Impl("onednn", packed.linear, packed.refuses, packed.yields),
    Impl("ref", ref.linear, traces=True),
)


@again
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, impl: str = "auto") -> Tensor:
    """y = W x + b for every frame: x [...,D_in], weight [D_out,D_in], bias [D_out] -> [...,D_out]."""
    run: Callable[..., Tensor] = LINEAR.choose(impl, x, weight, bias).run
    return run(x, weight, bias)
