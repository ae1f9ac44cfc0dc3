"""The short convolution: every channel is a weighted sum of its own last few frames."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lamina.ops._native.again import again
from lamina.ops._shapes import Shapes, one_dtype, working_dtype
from lamina.ops._short_conv import aten, native, ref
from lamina.ops.registry import Impl, Op, short

__all__ = ["SHORT_CONV", "short_conv"]

SHORT_CONV = Op(
    "short_conv",
    Impl("numba", native.short_conv, native.refuses),
    Impl("aten", aten.short_conv, yields=short, traces=True),
    Impl("ref", ref.short_conv, traces=True),
)
_SHAPES = Shapes("short_conv", "x: B T C", "weight: C kernel", "bias: C", "mask: B T", "state: B past C")


@again
def short_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    state: Tensor | None = None,
    *,
    impl: str = "auto",
) -> tuple[Tensor, Tensor]:
    """y_t = bias + sum_i weight_i x_{t-(kernel-1)+i}, i = 0..kernel-1, for every channel alone: causal, depthwise.

    x [B,T,C], zeros at absent frames; weight [C,kernel]; bias [C]; mask [B,T], None where every frame is real; state
    [B,kernel-1,C], the last real frames, None for zeros -> y [B,T,C] in x's dtype and the state, float32 or wider.
    """
    sizes = _SHAPES(x, weight, bias, mask, state)
    past = sizes["kernel"] - 1
    if state is None:
        state = x.new_zeros(sizes["B"], past, sizes["C"], dtype=working_dtype(x))
    elif sizes["past"] != past:
        raise ValueError(
            f"short_conv: a state of {sizes['past']} frames does not fit {past + 1} taps, which need {past}"
        )
    dtype = working_dtype(x, state)
    wide, weight, state = one_dtype(dtype, x, weight, state)
    inputs = (wide, weight, None if bias is None else bias.to(dtype), mask, state)
    run: Callable[..., tuple[Tensor, Tensor]] = SHORT_CONV.choose(impl, *inputs).run
    y, state = run(*inputs)
    return y.to(x.dtype), state
