"""What retention, linear attention and the delta rule share: a matrix a head that is written and read by keys."""

from __future__ import annotations

from abc import abstractmethod
from typing import cast

from torch import Tensor

from lamina.core import Seq, State
from lamina.core.layer import state_dtype
from lamina.layers.one_run import OneRun
from lamina.layers.projection import Projection
from lamina.layers.short_conv import ShortConv, convolved

__all__ = ["MatrixMemory"]


class MatrixMemory(OneRun):
    """The projections and the state; a subclass says how the matrices S are decayed, written and read.

    [B,T,D] -> [B,T,D]; state {"S": [B,H,K,V], float32 or wider}, with short_conv also {"conv": its state}.
    q and k have width K = d_head (default D / n_heads) a head, v has V = value_factor * K. One product gives q, k, v
    and more columns (`others`: the widths of a gate, of decays); no bias, so that an absent frame has the key zero.
    """

    def __init__(
        self, d_model: int, n_heads: int, value_factor: int, short_conv: int, *others: int, d_head: int | None = None
    ) -> None:
        super().__init__()
        if d_head is None and d_model % n_heads:
            raise ValueError(f"{type(self).__name__}: d_model={d_model} is not a multiple of n_heads={n_heads}")
        if value_factor < 1:
            raise ValueError(f"{type(self).__name__}: value_factor={value_factor} must be at least 1")
        self.d_in = self.d_out = d_model
        self.n_heads, self.d_head = n_heads, d_head or d_model // n_heads
        d_key = n_heads * self.d_head
        self.d_value = value_factor * d_key
        self.columns = (2 * d_key, self.d_value, *others)
        self.project = Projection(d_model, sum(self.columns), bias=False)
        self.conv = ShortConv(2 * d_key + self.d_value, short_conv, bias=False) if short_conv else None
        self.out = Projection(self.d_value, d_model, bias=False)

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        like, values = self.like(like), self.d_value // self.n_heads
        state: State = {"S": like.new_zeros(batch, self.n_heads, self.d_head, values, dtype=state_dtype(like))}
        if self.conv is not None:
            state["conv"] = self.conv.init_state(batch, like=like)
        return state

    def run(self, x: Seq, state: State | None) -> tuple[Tensor, State]:
        values, new = self.project(x.zeroed()), cast(State, {})
        if self.conv is None:  # one split, whose gradient is one copy
            qk, v, *others = values.split(self.columns, -1)
        else:
            qkv, *others = values.split((sum(self.columns[:2]), *self.columns[2:]), -1)
            qkv, new = convolved(self.conv, x.with_values(qkv), state)
            qk, v = qkv.split(self.columns[:2], -1)
        heads = qk.unflatten(-1, (2 * self.n_heads, -1)), v.unflatten(-1, (self.n_heads, -1))
        y, own = self.mix(x, *heads, tuple(others), state)
        return self.out(y), {**own, **new}

    @abstractmethod
    def mix(
        self, x: Seq, qk: Tensor, v: Tensor, others: tuple[Tensor, ...], state: State | None
    ) -> tuple[Tensor, State]:
        """qk [B,T,2H,K] (the queries' heads, then the keys'), v [B,T,H,V], others [B,T,*] -> y [B,T,H*V], new state."""
