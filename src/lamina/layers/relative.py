"""Relative positions for attention: a learned projection of sines and cosines of the distance."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lamina.layers.projection import Projection
from lamina.ops import Relative

__all__ = ["RelativePosition"]


class RelativePosition(nn.Module):
    """r_d = W [sin(d w_0), cos(d w_0), sin(d w_1), ...], w_i = 10000^(-2i/D), for each distance d, and the biases u, v.

    What `ops.attention` takes as `relative` beside q and k [B,T,H,K]: vectors of M distances [M,H,K], u and v [H,K].
    Dai et al. 2019, arXiv:1901.02860.
    """

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.project = Projection(d_model, d_model, bias=False)
        self.u, self.v = (nn.Parameter(torch.zeros(n_heads, d_model // n_heads)) for _ in "uv")

    def forward(self, longest: int = 0) -> Relative:
        """longest: frames of the longest of several rows, which then share their vectors."""
        table = self.vectors(longest - 1, 1 - longest) if longest else None

        def vectors(far: int, near: int) -> Tensor:
            if table is None or max(far, -near) >= longest:
                return self.vectors(far, near)
            return table[longest - 1 - far : longest - near]

        return Relative(self.u, self.v, vectors)

    def vectors(self, far: int, near: int) -> Tensor:
        """The vectors of the distances far, far - 1, ..., near."""
        weight = self.project.weight
        d = torch.arange(far, near - 1, -1, device=weight.device, dtype=torch.float64)
        i = torch.arange(0, weight.shape[1], 2, device=weight.device, dtype=torch.float64)
        angle = d[:, None] * 10000.0 ** (-i / weight.shape[1])
        waves = torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, : weight.shape[1]]
        return self.project(waves.to(weight.dtype)).unflatten(1, (self.n_heads, -1))
