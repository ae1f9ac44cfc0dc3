"""Attention of a decoder to what an encoder made of the source."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from lamina import ops
from lamina.core import Layer, Packed, Seq, State, StreamSpec, each_length
from lamina.core.layer import state_dtype
from lamina.layers.projection import Projection

__all__ = ["MemoryAttention"]


class MemoryAttention(Layer):
    """Every frame looks into the whole memory (Vaswani et al. 2017, arXiv:1706.03762).

        y_t = W_o sum_s softmax_s((W_q x_t) . (W_k m_s) / sqrt(K)) W_v m_s    over the memory's real frames

    x [B,T,D], memory [B,S,d_memory] -> [B,T,D]; a row without memory finds 0. Keys and values are projected once, in
    init_state(memory=): state {"k", "v": [B,S,H,K], "mask": [B,S]}, S * (2 * D * 4 + 1) bytes a stream, which no step
    changes.
    """

    takes_memory = True

    def __init__(self, d_model: int, n_heads: int = 4, d_memory: int | None = None) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"MemoryAttention: d_model={d_model} is not a multiple of n_heads={n_heads}")
        self.d_in = self.d_out = d_model
        self.d_memory, self.n_heads = d_memory or d_model, n_heads
        self.query, self.out = Projection(d_model, d_model), Projection(d_model, d_model)
        self.kv = Projection(self.d_memory, 2 * d_model)

    def stream_spec(self) -> StreamSpec:
        return StreamSpec()

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        k, v, mask = self._project(memory)
        dtype = state_dtype(self.like(like))
        return {"k": k.to(dtype), "v": v.to(dtype), "mask": mask}

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        k, v, mask = self._project(memory)
        if isinstance(x, Packed) and isinstance(memory, Packed):  # each row looks into its own memory
            given = (self._queries(x, k), x.rows), (k, memory.rows), (v, memory.rows)
            return self._told(x, each_length(ops.attention, *given))
        return self._attend(x, k, v, None if memory is not None and memory.dense else mask)

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        past = cast("dict[str, Tensor]", state)
        return self._attend(x, past["k"], past["v"], past["mask"]), state.copy()

    def weights(self, x: Seq, memory: Seq) -> Tensor:
        """What each frame looks at, for pictures: the softmax, [B,T,H,S], zeros at the memory's absent frames."""
        k, _, mask = self._project(memory)
        q = self.query(x.zeroed()).unflatten(-1, (self.n_heads, -1))
        scores = torch.einsum("bthk,bshk->bths", q, k) * k.shape[-1] ** -0.5
        absent = ~mask[:, None, None]
        return scores.masked_fill(absent, torch.finfo(scores.dtype).min).softmax(-1).masked_fill(absent, 0)

    def _project(self, memory: Seq | None) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values [B,S,H,K] and the mask [B,S]."""
        if memory is None:
            raise TypeError("MemoryAttention: it reads an encoder's frames; call forward(x, memory)")
        k, v = self.kv(memory.zeroed()).unflatten(-1, (2 * self.n_heads, -1)).chunk(2, 2)
        return k, v, memory.mask

    def _attend(self, x: Seq, k: Tensor, v: Tensor, mask: Tensor | None) -> Seq:
        return self._told(x, ops.attention(self._queries(x, k), k, v, mask))

    def _queries(self, x: Seq, k: Tensor) -> Tensor:
        return self.query(x.zeroed()).unflatten(-1, (self.n_heads, -1)).to(k.dtype)

    def _told(self, x: Seq, found: Tensor) -> Seq:
        return x.with_values(self.out(found.flatten(2).to(x.values.dtype)))

    def frames(self, n: int) -> int:
        return n
