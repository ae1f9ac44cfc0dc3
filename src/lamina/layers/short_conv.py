"""The short convolution: a few taps a channel, alone or in front of a mixer's memory."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from lamina import ops
from lamina.core import Layer, Seq, State, StreamSpec
from lamina.core.layer import state_dtype

__all__ = ["ShortConv", "convolved"]


class ShortConv(Layer):
    """y_t = b + sum_i w_i x_{t-(kernel-1)+i} for every channel alone (Fu et al. 2022, arXiv:2212.14052).

    [B,T,D] -> [B,T,D]; causal. state {"x": [B,kernel-1,D], float32 or wider}: (kernel - 1) * D * 4 bytes a stream.
    Absent frames leave the state unchanged. weight [D,1,kernel] as nn.Conv1d has it.
    """

    def __init__(self, d_model: int, kernel: int = 4, bias: bool = True) -> None:
        super().__init__()
        if kernel < 1:
            raise ValueError(f"ShortConv: kernel={kernel} must be at least 1")
        self.d_in = self.d_out = d_model
        self.kernel = kernel
        bound = kernel**-0.5
        self.weight = nn.Parameter(torch.empty(d_model, 1, kernel).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(d_model).uniform_(-bound, bound)) if bias else None

    def stream_spec(self) -> StreamSpec:
        return StreamSpec()

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        like = self.like(like)
        return {"x": like.new_zeros(batch, self.kernel - 1, cast(int, self.d_in), dtype=state_dtype(like))}

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        return x.with_values(ops.short_conv(x.zeroed(), self.weight[:, 0], self.bias)[0])

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        mask, past = None if x.dense else x.mask, cast(Tensor, state["x"])
        y, past = ops.short_conv(x.zeroed(), self.weight[:, 0], self.bias, mask, past)
        return x.with_values(y), {"x": past}

    def frames(self, n: int) -> int:
        return n


def convolved(conv: ShortConv | None, x: Seq, state: State | None) -> tuple[Tensor, State]:
    """x through a mixer's short convolution, where it has one: forward without a state, step with the mixer's."""
    if conv is None:
        return x.values, {}
    if state is None:
        return conv(x).values, {}
    y, new = conv.step(x, cast(State, state["conv"]))
    return y.values, {"conv": new}
