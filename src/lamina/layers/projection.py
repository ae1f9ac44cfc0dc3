"""The matrix of weights in front of and behind most structures."""

from __future__ import annotations

from torch import Tensor, nn

from lamina import ops

__all__ = ["Projection"]


class Projection(nn.Linear):
    """y = W x + b as nn.Linear has it, [B,T,d_in] -> [B,T,d_out], with its weights and names.

    The product of the few frames of a step is a kernel's, which is quicker (`lamina bench ops --only linear`).
    """

    def forward(self, x: Tensor) -> Tensor:
        return ops.linear(x, self.weight, self.bias)
