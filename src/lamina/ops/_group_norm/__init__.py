"""Group norm of an image's or a row's channels, what is added before it and the SiLU behind it included."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lamina.ops._group_norm import native, ref
from lamina.ops._native.again import again
from lamina.ops._shapes import Shapes
from lamina.ops.registry import Impl, Op

__all__ = ["GROUP_NORM", "group_norm"]

GROUP_NORM = Op(
    "group_norm", Impl("numba", native.group_norm, native.refuses), Impl("ref", ref.group_norm, traces=True)
)

_SHAPES = {
    n: Shapes("group_norm", f"x: {x}", "weight: C", "bias: C", "shift: B C") for n, x in ((3, "B T C"), (4, "B F W C"))
}


@again
def group_norm(
    x: Tensor, weight: Tensor, bias: Tensor, shift: Tensor | None, n_groups: int, eps: float = 1e-5,
    silu: bool = False, *, impl: str = "auto",
) -> Tensor:  # fmt: skip
    """y = (z - mean) / sqrt(var + eps) * weight + bias with z = x + shift, then y * sigmoid(y) if silu.

    x [B,T,C] or [B,F,W,C]; weight and bias [C]; shift [B,C] or None -> y as x. mean and var are over all places of a
    row of the batch and the C / n_groups channels of a group. Wu & He 2018, arXiv:1803.08494.
    """
    _SHAPES[4 if x.dim() == 4 else 3](x, weight, bias, shift)
    if x.shape[-1] % n_groups:
        raise ValueError(f"group_norm: {x.shape[-1]} channels make no {n_groups} groups")
    run: Callable[..., Tensor] = GROUP_NORM.choose(impl, x, weight, bias, shift).run
    return run(x, weight, bias, shift, n_groups, eps, silu)
