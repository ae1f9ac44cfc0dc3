"""Layer norm as PyTorch has it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["layer_norm"]


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """y = (x - mean) / sqrt(var + eps) * weight + bias."""
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)
