"""The selective scan as its definition: one frame after another, in the dtype of the inputs."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["selective_scan"]


def selective_scan(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """h <- exp(dt_t A) h + dt_t B_t x_t,    y_t = C_t . h + D x_t."""
    outputs = []
    for t in range(x.shape[1]):
        decay = (dt[:, t, :, None] * A).exp()  # [B,C,N]
        state = decay * state + (dt[:, t] * x[:, t])[:, :, None] * B[:, t, None, :]
        outputs.append((state @ C[:, t, :, None]).squeeze(-1) + D * x[:, t])
    y = torch.stack(outputs, 1) if outputs else x.new_zeros(x.shape)
    return y, state if outputs else state.clone()
