"""What the claims' networks need around a model: a head, and no stem where the paper has none."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from lamina.core import Layer, Seq

__all__ = ["Headed"]


class Headed(nn.Module):
    """A frame model and a linear head on its last frame, without a stem: [B,T,d_in] -> [B,n_out]."""

    def __init__(self, body: nn.Module, n_out: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(cast(int, body.d_out), n_out)
        self.d_in, self.d_out = body.d_in, n_out

    def forward(self, x: Seq) -> Tensor:
        y: Tensor = self.head(cast(Layer, self.body)(x).values[:, -1])
        return y
