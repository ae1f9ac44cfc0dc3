"""Layer norm: PyTorch's, and a kernel for the few frames of a stream's step."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lamina.ops._layer_norm import native, ref
from lamina.ops._native.again import again
from lamina.ops.registry import Impl, Op

__all__ = ["LAYER_NORM", "layer_norm"]

LAYER_NORM = Op(
    "layer_norm",
    Impl("numba", native.layer_norm, native.refuses, native.yields),
    Impl("ref", ref.layer_norm, traces=True),
)


@again
def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5, *, impl: str = "auto") -> Tensor:
    """y = (x - mean) / sqrt(var + eps) * weight + bias over the last dimension: x [...,D], weight, bias [D] -> as x.

    Ba et al. 2016, arXiv:1607.06450.
    """
    run: Callable[..., Tensor] = LAYER_NORM.choose(impl, x, weight, bias).run
    return run(x, weight, bias, eps)
