"""The short convolution: every channel is a weighted sum of its own last few frames."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lamina.ops._shapes import fits, one_dtype, working_dtype
from lamina.ops._short_conv import aten, ref
from lamina.ops.registry import Impl, Op

__all__ = ["SHORT_CONV", "short_conv"]

SHORT_CONV = Op("short_conv", Impl("aten", aten.short_conv, aten.refuses), Impl("ref", ref.short_conv, traces=True))


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
    sizes = fits(
        "short_conv", ("x", x, "B T C"), ("weight", weight, "C kernel"), ("bias", bias, "C"), ("mask", mask, "B T"),
        ("state", state, "B past C"),
    )  # fmt: skip
    past = sizes["kernel"] - 1
    if state is None:
        state = x.new_zeros(sizes["B"], past, sizes["C"], dtype=working_dtype(x))
    elif sizes["past"] != past:
        raise ValueError(
            f"short_conv: a state of {sizes['past']} frames does not fit {past + 1} taps, which need {past}"
        )
    dtype = working_dtype(x, state)
    state, x_wide, weight = one_dtype(dtype, state, x, weight)
    window = torch.cat([state, x_wide], 1)  # [B,kernel-1+T,C]
    inputs = (window, weight, None if bias is None else bias.to(dtype))
    run: Callable[..., Tensor] = SHORT_CONV.choose(impl, *inputs).run
    return run(*inputs).to(x.dtype), _last(window, past, mask)


def _last(window: Tensor, frames: int, mask: Tensor | None) -> Tensor:
    """The frames up to the last real one, [B,frames,C]; absent frames before the first are zeros, as the state is."""
    if mask is None:
        return window[:, window.shape[1] - frames :].clone()
    end = (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).amax(1)  # [B]; 0: no real frame
    at = end[:, None] + torch.arange(frames, device=mask.device)
    return window.gather(1, at[..., None].expand(-1, -1, window.shape[2]))
