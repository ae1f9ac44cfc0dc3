"""The short convolution as its definition, in the dtype of the inputs."""

from __future__ import annotations

from torch import Tensor

__all__ = ["short_conv"]


def short_conv(window: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """y_t = bias + sum_i weight_i window_{t+i}."""
    y = (window.unfold(1, weight.shape[1], 1) * weight).sum(-1)  # [B,T,C,kernel] -> [B,T,C]
    return y if bias is None else y + bias
