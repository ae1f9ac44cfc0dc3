"""SwiGLU as its definition, in the dtype of the inputs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["swiglu"]


def swiglu(gate: Tensor, value: Tensor) -> Tensor:
    """y = silu(gate) * value."""
    return F.silu(gate) * value
