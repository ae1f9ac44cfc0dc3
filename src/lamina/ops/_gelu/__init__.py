"""The Gaussian error linear unit: PyTorch's, and a kernel for the few frames of a stream's step."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lamina.ops._gelu import native, ref
from lamina.ops._native.again import again
from lamina.ops.registry import Impl, Op

__all__ = ["GELU", "gelu"]

GELU = Op("gelu", Impl("numba", native.gelu, native.refuses, native.yields), Impl("ref", ref.gelu, traces=True))


@again
def gelu(x: Tensor, *, impl: str = "auto") -> Tensor:
    """y = x P(z <= x), z normal: x/2 erfc(-x / sqrt 2), of any shape. Hendrycks & Gimpel 2016, arXiv:1606.08415."""
    run: Callable[..., Tensor] = GELU.choose(impl, x).run
    return run(x)
