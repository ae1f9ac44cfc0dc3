"""The delta rule as its definition: one frame after another, in the dtype of the inputs."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["delta_rule"]


def delta_rule(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None, state: Tensor
) -> tuple[Tensor, Tensor]:
    """S <- exp(log_decay_t) S;  S <- S + beta_t k_t (v_t - S^T k_t)^T;  o_t = S^T q_t."""
    outputs = []
    for t in range(q.shape[1]):
        if log_decay is not None:
            state = log_decay[:, t].exp()[..., None, None] * state
        key = k[:, t, :, None, :]  # [B,H,1,K]
        error = v[:, t, :, None, :] - key @ state  # [B,H,1,V]
        state = state + beta[:, t, :, None, None] * key.transpose(-1, -2) * error
        outputs.append((q[:, t, :, None, :] @ state).squeeze(-2))
    y = torch.stack(outputs, 1) if outputs else v.new_zeros(v.shape)
    return y, state if outputs else state.clone()
