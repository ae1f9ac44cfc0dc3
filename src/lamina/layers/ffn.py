"""Feed-forward blocks."""

from __future__ import annotations

from lamina import ops
from lamina.core import Pointwise, Seq, Serial
from lamina.layers.pointwise import Activation, Linear
from lamina.layers.projection import Projection

__all__ = ["FeedForward", "SwiGLU"]


class FeedForward(Serial):
    """y = W_2 f(W_1 x + b_1) + b_2 for each frame. [B,T,D] -> [B,T,D], no state."""

    def __init__(self, d_model: int, d_ff: int, activation: str = "gelu") -> None:
        super().__init__(Linear(d_model, d_ff), Activation(d_ff, activation), Linear(d_ff, d_model))


class SwiGLU(Pointwise):
    """y = W_o (silu(W_g x) * W_v x) for each frame (Shazeer 2020, arXiv:2002.05202). [B,T,D] -> [B,T,D], no state."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.d_in = self.d_out = d_model
        self.gate_value, self.out = Projection(d_model, 2 * d_ff, bias=False), Projection(d_ff, d_model, bias=False)

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        gate, value = self.gate_value(x.zeroed()).chunk(2, -1)
        return x.with_values(self.out(ops.swiglu(gate, value)))
