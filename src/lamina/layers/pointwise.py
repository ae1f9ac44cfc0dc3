"""Layers that look at one frame at a time: Linear, activations, Scale, Standardise, GLU, Dropout."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F

from lamina import ops
from lamina.core import Pointwise, Seq, State
from lamina.core.config import nearest
from lamina.core.layer import Width
from lamina.layers.projection import Projection

__all__ = ["ACTIVATIONS", "GLU", "Activation", "Dropout", "Linear", "Scale", "Standardise"]

ACTIVATIONS = {
    "gelu": ops.gelu, "gelu_tanh": partial(F.gelu, approximate="tanh"), "relu": F.relu,
    "sigmoid": torch.sigmoid, "silu": F.silu, "tanh": torch.tanh,
}  # fmt: skip


class Linear(Pointwise):
    """y = W x + b for each frame. [B,T,d_in] -> [B,T,d_out], no state."""

    def __init__(self, d_in: int, d_out: int, bias: bool = True) -> None:
        super().__init__()
        self.d_in, self.d_out = d_in, d_out
        self.linear = Projection(d_in, d_out, bias)

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        return x.with_values(self.linear(x.zeroed()), finite=False)


class Activation(Pointwise):
    """y = f(x), elementwise: gelu, relu, sigmoid, silu, tanh; gelu_tanh is 0.5 x (1 + tanh(0.798 (x + 0.0447 x^3))),
    gelu nearly. [B,T,*C] -> [B,T,*C], no state.
    """

    def __init__(
        self, width: Width, function: Literal["gelu", "gelu_tanh", "relu", "sigmoid", "silu", "tanh"] = "gelu"
    ) -> None:
        super().__init__()
        if function not in ACTIVATIONS:
            raise nearest(function, ACTIVATIONS, "activation")
        self.d_in = self.d_out = width
        self.function = function

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        return x.with_values(ACTIVATIONS[self.function](x.values))


class Scale(Pointwise):
    """y = factor * x, the factor fixed. [B,T,*C] -> [B,T,*C], no state."""

    def __init__(self, width: Width, factor: float) -> None:
        super().__init__()
        self.d_in = self.d_out = width
        self.factor = factor

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        return x.with_values(self.factor * x.values)


class Standardise(Pointwise):
    """y = (x - mean) / deviation, both fixed: those of the features that were learned from. [B,T,*C] -> [B,T,*C]."""

    def __init__(self, width: Width, mean: float, deviation: float) -> None:
        super().__init__()
        if not deviation:
            raise ValueError("Standardise: deviation=0; features that never change say nothing")
        self.d_in = self.d_out = width
        self.mean, self.deviation = mean, deviation

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        return x.with_values((x.values - self.mean) / self.deviation)


class GLU(Pointwise):
    """Gated linear unit: y = a * sigmoid(b), x = [a, b] (Dauphin et al. 2016, arXiv:1612.08083).

    [B,T,d_in] -> [B,T,d_in/2], no state.
    """

    def __init__(self, d_in: int) -> None:
        super().__init__()
        if d_in % 2:
            raise ValueError(f"GLU: d_in={d_in} is odd; it is split into two halves")
        self.d_in, self.d_out = d_in, d_in // 2

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        return x.with_values(F.glu(x.values, -1))


class Dropout(Pointwise):
    """In training each value is dropped with probability p and the rest scaled by 1/(1-p); step never drops.

    Srivastava et al. 2014. [B,T,*C] -> [B,T,*C], no state.
    """

    def __init__(self, width: Width, p: float = 0.1) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: p={p} is not in [0, 1)")
        self.d_in = self.d_out = width
        self.p = p

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        if not self.training or not self.p:
            return x.with_values(x.values, finite=x.finite)
        return x.with_values(F.dropout(x.zeroed(), self.p), finite=True)

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        return x.with_values(x.values, finite=x.finite), {}
