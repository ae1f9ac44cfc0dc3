"""The depthwise convolution as PyTorch has it: for other devices, and for graphs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.ops._short_conv.ref import last

__all__ = ["short_conv"]


def short_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, state: Tensor
) -> tuple[Tensor, Tensor]:
    """y_t = bias + sum_i weight_i x_{t-(kernel-1)+i}."""
    window = torch.cat([state, x], 1)  # [B,kernel-1+T,C]
    with torch.autocast(x.device.type, enabled=False):  # in the dtype of the work, as the others
        y = F.conv1d(window.transpose(1, 2), weight[:, None], bias, groups=weight.shape[0]).transpose(1, 2)
    return y, last(window, state.shape[1], mask)
