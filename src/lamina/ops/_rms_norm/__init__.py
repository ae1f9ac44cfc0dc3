"""RMS norm, with a weight a channel and a gate where there are such."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lamina.ops._native import refuses
from lamina.ops._native.again import again
from lamina.ops._rms_norm import native, ref
from lamina.ops._shapes import Shapes
from lamina.ops.registry import Impl, Op

__all__ = ["RMS_NORM", "rms_norm"]

RMS_NORM = Op("rms_norm", Impl("numba", native.rms_norm, refuses), Impl("ref", ref.rms_norm, traces=True))

_SHAPES = {n: Shapes("rms_norm", f"x: {x}", "weight: D", f"gate: {x}") for n, x in ((3, "B T D"), (4, "B T H D"))}


@again
def rms_norm(
    x: Tensor, weight: Tensor | None = None, gate: Tensor | None = None, eps: float = 1e-6, *, impl: str = "auto"
) -> Tensor:
    """y = x / sqrt(mean(x^2) + eps) * weight * silu(gate) over the last dimension; without a weight or a gate, 1.

    x, gate [B,T,D] or [B,T,H,D]; weight [D] -> y as x. Zhang & Sennrich 2019, arXiv:1910.07467; the gate stands behind
    a memory's norm, as in RetNet (Sun et al. 2023, arXiv:2307.08621).
    """
    _SHAPES[4 if x.dim() == 4 else 3](x, weight, gate)
    run: Callable[..., Tensor] = RMS_NORM.choose(impl, x, weight, gate).run
    return run(x, weight, gate, eps)
