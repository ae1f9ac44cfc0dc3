"""Token ids to vectors, with the sentence that they stand in and the place where they stand."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from lamina.core import Layer, Pointwise, Seq, State, StreamSpec, UserError
from lamina.layers.position import count

__all__ = ["Embedding", "LearnedPosition", "SegmentEmbedding"]


class Embedding(Pointwise):
    """y = table[token]. Token ids [B,T] in 0..n_vocab-1 -> [B,T,d_model], no state.

    Absent frames may hold any integer.
    """

    def __init__(self, n_vocab: int, d_model: int) -> None:
        super().__init__()
        self.d_in, self.d_out, self.n_vocab = (), d_model, n_vocab
        self.table = _table(n_vocab, d_model)

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        return x.with_values(self.table(_tokens(x, "Embedding")))


class SegmentEmbedding(Layer):
    """y_t = table[token_t] + segments[s_t], s_t the number of separators before t, at most n_segments - 1.

    A sentence or a pair as BERT reads it, "[CLS] a [SEP] b [SEP]": a separator belongs to the sentence that it ends
    (Devlin et al. 2018, arXiv:1810.04805). Token ids [B,T] -> [B,T,d_model]; state {"seen": [B] int64}, 8 bytes a
    stream. separator is a token id.
    """

    def __init__(self, n_vocab: int, d_model: int, separator: int, n_segments: int = 2) -> None:
        super().__init__()
        if not 0 <= separator < n_vocab:
            raise ValueError(f"SegmentEmbedding: separator={separator} is not in 0..{n_vocab - 1}")
        self.d_in, self.d_out, self.n_vocab = (), d_model, n_vocab
        self.separator, self.n_segments = separator, n_segments
        self.table, self.segments = _table(n_vocab, d_model), _table(n_segments, d_model)

    def stream_spec(self) -> StreamSpec:
        return StreamSpec()

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        return {"seen": self.like(like).new_zeros(batch, dtype=torch.int64)}

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        return self._embed(x, x.mask.new_zeros(len(x.mask), dtype=torch.int64))[0]

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        y, seen = self._embed(x, cast(Tensor, state["seen"]))
        return y, {"seen": seen}

    def _embed(self, x: Seq, seen: Tensor) -> tuple[Seq, Tensor]:
        tokens = _tokens(x, "SegmentEmbedding")
        ends = ((tokens == self.separator) & x.mask).to(torch.int64)
        upto = seen[:, None] + ends.cumsum(1)
        segment = (upto - ends).clamp(max=self.n_segments - 1)
        return x.with_values(self.table(tokens) + self.segments(segment)), seen + ends.sum(1)

    def frames(self, n: int) -> int:
        return n


class LearnedPosition(Layer):
    """y_t = x_t + table[t], a vector learned for each of `capacity` places (Gehring et al. 2017, arXiv:1705.03122).

    [B,T,D] -> [B,T,D]; state {"t": [B] int64}, 8 bytes a stream. forward takes at most capacity frames; a stream
    that is older stays at the last place.
    """

    def __init__(self, d_model: int, capacity: int) -> None:
        super().__init__()
        if capacity < 1:
            raise ValueError(f"LearnedPosition: capacity={capacity} must be at least 1")
        self.d_in = self.d_out = d_model
        self.capacity = capacity
        self.table = _table(capacity, d_model)

    def stream_spec(self) -> StreamSpec:
        return StreamSpec()

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        return {"t": self.like(like).new_zeros(batch, dtype=torch.int64)}

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        frames = x.mask.shape[1]
        if frames > self.capacity:
            raise UserError(
                f"LearnedPosition: {frames} frames are more than its capacity={self.capacity} places; cut the input"
            )
        return x.with_values(x.values + self.table.weight[:frames])

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        positions, seen = count(x, cast(Tensor, state["t"]))
        return x.with_values(x.values + self.table(positions.clamp(0, self.capacity - 1))), {"t": seen}

    def frames(self, n: int) -> int:
        return n


def _table(n: int, d_model: int) -> nn.Embedding:
    table = nn.Embedding(n, d_model)
    # the width of a frame stays near 1 whatever d_model, as the Linear in front of other data gives
    nn.init.normal_(table.weight, std=1.0 / d_model**0.5)
    return table


def _tokens(x: Seq, who: str) -> Tensor:
    if x.values.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"{who} takes token ids (int64 or int32), not {x.values.dtype}")
    return x.zeroed()
