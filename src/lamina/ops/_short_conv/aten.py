"""The short convolution through PyTorch's image convolution, channels last: oneDNN's quickest depthwise kernel.

Milliseconds on [4,512,512] with 4 taps, one thread, forward / forward and backward: conv1d 2.3 / 13, shifted
multiply-adds 5.3 / 6.7, this 0.4 / 3.1. oneDNN is slow at the gradient of the weights: backward takes it as products.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.ops._short_conv.ref import last
from lamina.ops.registry import tracing

__all__ = ["refuses", "short_conv"]

FEW = 8  # frames up to which the plain sum is as quick


def refuses(x: Tensor, *_: Tensor | None) -> str | None:
    if x.shape[1] <= FEW:
        return "for a few frames the plain sum is as quick"
    if x.dtype != torch.float32:
        return f"it is slow in {x.dtype}"
    return tracing()


def short_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, state: Tensor
) -> tuple[Tensor, Tensor]:
    window = torch.cat([state, x], 1)  # [B,kernel-1+T,C]
    y: Tensor = _ShortConv.apply(window, weight)
    return y if bias is None else y + bias, last(window, state.shape[1], mask)


class _ShortConv(torch.autograd.Function):
    """window [B,kernel-1+T,C], weight [C,kernel] -> [B,T,C]; both derivatives are made of differentiable operators."""

    @staticmethod
    def forward(context: Any, window: Tensor, weight: Tensor) -> Tensor:
        context.save_for_backward(window, weight)
        return _slide(window, weight)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        window, weight = context.saved_tensors
        gradient, kernel = gradients[0], weight.shape[1]
        around = F.pad(gradient, (0, 0, kernel - 1, kernel - 1))
        frames = gradient.shape[1]
        taps = [(gradient * window[:, i : i + frames]).sum((0, 1)) for i in range(kernel)]
        return _slide(around, weight.flip(1)), torch.stack(taps, 1)


def _slide(window: Tensor, weight: Tensor) -> Tensor:
    image = window.transpose(1, 2)[:, :, None]  # [B,C,1,T], channels last
    with torch.autocast(window.device.type, enabled=False):
        y = F.conv2d(image, weight[:, None, None], groups=weight.shape[0])
    return y[:, :, 0].transpose(1, 2)
