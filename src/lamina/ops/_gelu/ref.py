"""GELU as PyTorch has it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["gelu"]


def gelu(x: Tensor) -> Tensor:
    """y = x/2 erfc(-x / sqrt 2)."""
    return F.gelu(x)
