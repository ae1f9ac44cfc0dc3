"""RMS norm as its definition, in the dtype of the inputs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["rms_norm"]


def rms_norm(x: Tensor, weight: Tensor | None, gate: Tensor | None, eps: float) -> Tensor:
    """y = x / sqrt(mean(x^2) + eps) * weight * silu(gate)."""
    y = F.rms_norm(x, x.shape[-1:], None if weight is None else weight.to(x.dtype), eps)
    return y if gate is None else y * F.silu(gate)
