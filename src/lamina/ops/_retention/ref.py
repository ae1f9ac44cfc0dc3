"""Retention as its definition: one frame after another, in the dtype of the inputs."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["retention"]


def retention(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """S <- exp(log_decay_t) S + k_t v_t^T,    o_t = S^T q_t."""
    decay, outputs = log_decay.exp(), []
    for t in range(q.shape[1]):
        write = k[:, t, :, :, None] * v[:, t, :, None, :]  # [B,H,K,V]
        state = decay[:, t, :, None, None] * state + write
        outputs.append((q[:, t, :, None, :] @ state).squeeze(-2))
    y = torch.stack(outputs, 1) if outputs else v.new_zeros(v.shape)
    return y, state if outputs else state.clone()
