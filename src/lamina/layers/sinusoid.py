"""Sinusoid: positions as waves of many lengths, added to the frames; nothing is learned and none is the last."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from lamina.core import Layer, Seq, State, StreamSpec
from lamina.layers.position import count

__all__ = ["Sinusoid"]


class Sinusoid(Layer):
    """y_t = x_t + p_t with waves of the position (Vaswani et al. 2017, arXiv:1706.03762).

        p_t[2i] = sin(t / 10000^(2i/D)),    p_t[2i+1] = cos(t / 10000^(2i/D))

    halves: all sines first, then all cosines, as Marian lays them out. [B,T,D] -> [B,T,D]; state {"t": [B] int64}, 8
    bytes a stream. Angles are computed in float64, so that an old stream is as exact as a young one.
    """

    def __init__(self, d_model: int, halves: bool = False) -> None:
        super().__init__()
        if d_model % 2:
            raise ValueError(f"Sinusoid: sines and cosines come in pairs; d_model={d_model} is odd")
        self.d_in = self.d_out = d_model
        self.halves = halves

    def stream_spec(self) -> StreamSpec:
        return StreamSpec()

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        return {"t": self.like(like).new_zeros(batch, dtype=torch.int64)}

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        return self._add(x, torch.arange(x.mask.shape[1], device=x.mask.device)[None])

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        positions, seen = count(x, cast(Tensor, state["t"]))
        return self._add(x, positions), {"t": seen}

    def _add(self, x: Seq, t: Tensor) -> Seq:
        """t [B or 1, T]."""
        i = torch.arange(0, cast(int, self.d_in), 2, dtype=torch.float64, device=t.device)
        angle = t[..., None] * 10000.0 ** (-i / cast(int, self.d_in))
        waves = (angle.sin(), angle.cos())
        p = torch.cat(waves, -1) if self.halves else torch.stack(waves, -1).flatten(-2)
        return x.with_values(x.values + p.to(x.values.dtype))

    def frames(self, n: int) -> int:
        return n
