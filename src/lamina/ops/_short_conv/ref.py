"""The short convolution as its definition, in the dtype of the inputs."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["last", "short_conv"]


def short_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, state: Tensor
) -> tuple[Tensor, Tensor]:
    """y_t = bias + sum_i weight_i window_{t+i} over the window of the state's frames and x."""
    window = torch.cat([state, x], 1)  # [B,kernel-1+T,C]
    y = (window.unfold(1, weight.shape[1], 1) * weight).sum(-1)  # [B,T,C,kernel] -> [B,T,C]
    return y if bias is None else y + bias, last(window, state.shape[1], mask)


def last(window: Tensor, frames: int, mask: Tensor | None) -> Tensor:
    """The frames up to the last real one, [B,frames,C]; absent frames before the first are zeros, as the state is."""
    if mask is None:
        return window[:, window.shape[1] - frames :].clone()
    end = (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).amax(1)  # [B]; 0: no real frame
    at = end[:, None] + torch.arange(frames, device=mask.device)
    return window.gather(1, at[..., None].expand(-1, -1, window.shape[2]))
