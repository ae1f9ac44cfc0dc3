"""Recurrent layers: LSTM, GRU and the plain tanh RNN."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from lamina import ops
from lamina.core import Layer, Seq, State, StreamSpec
from lamina.core.layer import state_dtype

__all__ = ["GRU", "LSTM", "RNN"]


class _Recurrent(Layer):
    """What the three share: weight [d_in + d_out, gates * d_out], input and recurrent part in one product."""

    gates: ClassVar[int]  # blocks of weight columns
    biases: ClassVar[int]  # blocks of the bias
    parts: ClassVar[tuple[str, ...]]  # names of the state's tensors
    op: ClassVar[Any]

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.d_in, self.d_out = d_in, d_out
        self.weight = nn.Parameter(torch.empty(d_in + d_out, self.gates * d_out))
        self.bias = nn.Parameter(torch.zeros(self.biases * d_out))
        nn.init.xavier_uniform_(self.weight[:d_in])
        for block in self.weight[d_in:].split(d_out, 1):
            _orthogonal_(block)

    def stream_spec(self) -> StreamSpec:
        return StreamSpec()

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        like = self.like(like)
        return {name: like.new_zeros(batch, cast(int, self.d_out), dtype=state_dtype(like)) for name in self.parts}

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        # no mask: padding is to the right of every real frame, and the last state is not returned
        y, _ = type(self).op(x.zeroed(), self.weight, self.bias)
        return x.with_values(y)

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        mask = None if x.dense else x.mask
        past = tuple(cast(Tensor, state[name]) for name in self.parts)
        y, new = type(self).op(x.zeroed(), self.weight, self.bias, mask, past)
        return x.with_values(y.to(x.values.dtype)), dict(zip(self.parts, new, strict=True))

    def frames(self, n: int) -> int:
        return n


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate of Gers et al. 2000).

        i, f, g, o = W [x_t; h_{t-1}] + b
        c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g),    h_t = sigmoid(o) tanh(c_t)

    [B,T,d_in] -> [B,T,d_out]; state {"h", "c"}: [B,d_out], float32 or wider: 2 * d_out * 4 bytes a stream.
    The forget gate's bias starts at 1 (Jozefowicz et al. 2015). Absent frames leave the state unchanged.
    """

    gates, biases, parts, op = 4, 4, ("h", "c"), ops.lstm

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__(d_in, d_out)
        nn.init.ones_(self.bias.data[d_out : 2 * d_out])


class GRU(_Recurrent):
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), the reset gate behind the recurrent product.

        r, z = sigmoid(W [x_t; h_{t-1}] + b),    n = tanh(W_n x_t + b_n + r (U_n h_{t-1} + c_n))
        h_t = (1 - z) n + z h_{t-1}

    [B,T,d_in] -> [B,T,d_out]; state {"h"}: [B,d_out], float32 or wider: d_out * 4 bytes a stream.
    Absent frames leave the state unchanged.
    """

    gates, biases, parts, op = 3, 4, ("h",), ops.gru


class RNN(_Recurrent):
    """The plain recurrence, the baseline that forgets: h_t = tanh(W [x_t; h_{t-1}] + b) (Elman 1990).

    [B,T,d_in] -> [B,T,d_out]; state {"h"}: [B,d_out], float32 or wider: d_out * 4 bytes a stream.
    Absent frames leave the state unchanged.
    """

    gates, biases, parts, op = 1, 1, ("h",), ops.rnn


def _orthogonal_(block: Tensor) -> None:
    """Recurrent products that neither grow nor shrink at first (Saxe et al. 2013); no values on the meta device."""
    if not block.is_meta:
        with torch.no_grad():
            block.copy_(nn.init.orthogonal_(torch.empty(block.shape)))
