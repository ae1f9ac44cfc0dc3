"""Additive attention: a recurrent decoder that looks back at the source before every word."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from lamina.core import Layer, Seq, State, StreamSpec
from lamina.core.config import nearest
from lamina.core.layer import state_dtype
from lamina.layers.projection import Projection
from lamina.layers.recurrent import GRU, LSTM

__all__ = ["CELLS", "AdditiveDecoder"]

CELLS = {"gru": GRU, "lstm": LSTM}


class AdditiveDecoder(Layer):
    """A recurrent decoder with attention (Bahdanau, Cho & Bengio 2014, arXiv:1409.0473).

        a_ts = softmax_s(u . tanh(W h_{t-1} + U m_s)),    c_t = sum_s a_ts m_s    over the memory's real frames
        h_t = cell([x_t; c_t], h_{t-1}),    h_0 = tanh(V m_1)
        y_t = max of pairs of R [h_t; c_t; x_t]

    x [B,T,D], memory [B,S,d_memory] -> [B,T,D]. Where the encoder is bidirectional, m_1 has seen the whole source, and
    attention=False stays with it, c_t = m_1: the encoder-decoder without attention (Cho et al. 2014, arXiv:1406.1078).
    state {"cell": the cell's, "memory": [B,S,d_memory], "keys": [B,S,D], "mask": [B,S]}, without attention {"cell",
    "context": [B,d_memory]}. forward takes a step a frame: the next look depends on the last. Absent frames leave the
    cell unchanged.
    """

    takes_memory = True

    def __init__(
        self, d_model: int, d_memory: int, cell: Literal["gru", "lstm"] = "gru", attention: bool = True
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise nearest(cell, CELLS, "cell")
        self.d_in = self.d_out = d_model
        self.d_memory, self.attention = d_memory, attention
        self.cell = CELLS[cell](d_model + d_memory, d_model)
        self.start = Projection(d_memory, d_model)
        self.readout = Projection(2 * d_model + d_memory, 2 * d_model)
        if attention:
            self.query, self.key = Projection(d_model, d_model, bias=False), Projection(d_memory, d_model)
            self.score = nn.Parameter(torch.randn(d_model) / d_model**0.5)

    def stream_spec(self) -> StreamSpec:
        return StreamSpec()

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        if memory is None:
            raise TypeError("AdditiveDecoder: it reads an encoder's frames; call forward(x, memory)")
        dtype = state_dtype(self.like(like))
        m, cell = memory.zeroed(), self.cell.init_state(batch, like=like)
        first = m[:, 0] if m.shape[1] else m.new_zeros(batch, self.d_memory)
        cell["h"] = torch.tanh(self.start(first)).to(dtype)
        if not self.attention:
            return {"cell": cell, "context": first.to(dtype)}
        return {"cell": cell, "memory": m.to(dtype), "keys": self.key(m).to(dtype), "mask": memory.mask}

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        return self.step(x, self.init_state(len(x.mask), like=x.values, memory=memory))[0]

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        cell, values, seen = cast(State, state["cell"]), x.zeroed(), []
        for t, value in enumerate(values.unbind(1)):
            now = x.slice(t, t + 1)
            context = self.look(cast(Tensor, cell["h"]), state)[0].to(values.dtype)
            h, cell = self.cell.step(now.with_values(torch.cat([value, context], -1)[:, None]), cell)
            seen.append(torch.cat([h.values[:, 0], context], -1))
        if not seen:
            return x, state.copy()
        y = self.readout(torch.cat([torch.stack(seen, 1), values], -1))
        return x.with_values(y.unflatten(-1, (-1, 2)).amax(-1)), {**state, "cell": cell}

    def look(self, h: Tensor, state: State) -> tuple[Tensor, Tensor | None]:
        """The context [B,d_memory] that a cell of output h [B,D] finds, and the weights [B,S] that it is made with."""
        if not self.attention:
            return cast(Tensor, state["context"]), None
        memory, keys, mask = (cast(Tensor, state[name]) for name in ("memory", "keys", "mask"))
        q = self.query(h.to(self.query.weight.dtype)).to(keys.dtype)
        scores = torch.tanh(keys + q[:, None]) @ self.score.to(keys.dtype)
        # the least number, not -inf: a row without memory has finite gradients
        a = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1).masked_fill(~mask, 0)
        return (a[:, None] @ memory)[:, 0], a

    def weights(self, x: Seq, memory: Seq) -> Tensor:
        """What each frame looks at, for pictures: [B,T,1,S], zeros at the memory's absent frames."""
        if not self.attention:
            raise TypeError("AdditiveDecoder: attention=False looks at nothing but the first frame")
        state, found = self.init_state(len(x.mask), like=x.values, memory=memory), []
        for t in range(x.mask.shape[1]):
            found.append(cast(Tensor, self.look(cast(Tensor, cast(State, state["cell"])["h"]), state)[1]))
            state = self.step(x.slice(t, t + 1), state)[1]
        return torch.stack(found, 1)[:, :, None]

    def frames(self, n: int) -> int:
        return n
