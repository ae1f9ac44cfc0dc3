"""The cross-decoder of YOCO: several layers that all attend to one cache of keys and values."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from lamina import ops
from lamina.core import Layer, NotStreamable, Residual, Seq, Serial, State, StreamSpec
from lamina.core import state as trees
from lamina.core.compose import spec_of
from lamina.core.layer import state_dtype
from lamina.layers.cache import behind
from lamina.layers.ffn import SwiGLU
from lamina.layers.norm import RMSNorm
from lamina.layers.pointwise import Dropout
from lamina.layers.position import count
from lamina.layers.projection import Projection

__all__ = ["CrossAttention", "CrossDecoder"]


class CrossAttention(Layer):
    """Causal attention to keys and values that another layer made and hands over as memory.

        y_t = W_o sum_s softmax_s((W_q x_t) . k_s / sqrt(K)) v_s,    t - capacity <= s <= t

    x [B,T,D], memory [B,S,2D]: keys, already turned by their positions, and values; the memory's last T frames stand
    where those of x do. -> [B,T,D]. state {"t": [B] int64}, the real frames so far: 8 bytes a stream, all that a layer
    adds to the shared cache. capacity=None does not stream.
    """

    takes_memory = True

    def __init__(self, d_model: int, n_heads: int = 4, capacity: int | None = 4096) -> None:
        super().__init__()
        if d_model % (2 * n_heads):
            raise ValueError(
                f"CrossAttention: positions turn pairs; d_model={d_model} is not a multiple of 2*n_heads={2 * n_heads}"
            )
        if capacity is not None and capacity < 1:
            raise ValueError(f"CrossAttention: capacity={capacity} is a number of frames, or None")
        self.d_in = self.d_out = d_model
        self.d_memory, self.n_heads, self.capacity = 2 * d_model, n_heads, capacity
        self.query, self.out = Projection(d_model, d_model, bias=False), Projection(d_model, d_model, bias=False)

    def stream_spec(self) -> StreamSpec:
        if self.capacity is None:
            raise NotStreamable("attention over the whole past has no bounded cache; give capacity=4096 or another one")
        return StreamSpec()

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        self.stream_spec()
        return {"t": self.like(like).new_zeros(batch, dtype=torch.int64)}

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        return self._attend(x, None, memory)

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        positions, t = count(x, cast(Tensor, state["t"]))
        return self._attend(x, positions, memory), {"t": t}

    def _attend(self, x: Seq, positions: Tensor | None, memory: Seq | None) -> Seq:
        if memory is None:
            raise TypeError("CrossAttention: it reads a memory of keys and values; call forward(x, memory)")
        q = ops.rotate(self.query(x.zeroed()).unflatten(-1, (self.n_heads, -1)), positions)
        k, v = memory.values.unflatten(-1, (2 * self.n_heads, -1)).chunk(2, 2)
        before = k.shape[1] - q.shape[1]
        y = ops.attention(q.to(v.dtype), k, v, memory.mask, before=before, left=self.capacity, right=0)
        return x.with_values(self.out(y.flatten(2)))

    def frames(self, n: int) -> int:
        return n


class CrossDecoder(Layer):
    """The upper half of YOCO (Sun et al. 2024, arXiv:2405.05254): one cache, made once, read by n_layers layers.

        k_t, v_t = W_k norm(x_t), W_v norm(x_t)    once;    n_layers times:
        x <- x + attention(norm(x); k, v),    x <- x + swiglu(norm(x))

    [B,T,D] -> [B,T,D]. state {"kv": [B,capacity,2D], float32 or wider, "mask": [B,capacity], "t": [B], "body": a count
    a layer}: capacity * (2 * D * 4 + 1) + 8 * (1 + n_layers) bytes a stream, whatever its age. A full cache forgets its
    oldest frame, in forward as in step; up to capacity frames this is full causal attention. capacity=None has no bound
    and does not stream. A step takes the longer the fuller the cache is.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int = 4,
        n_layers: int = 1,
        d_ff: int | None = None,
        capacity: int | None = 4096,
        dropout: float = 0.0,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.d_in = self.d_out = d_model
        self.n_heads, self.capacity = n_heads, capacity
        self.norm, self.kv = RMSNorm(d_model, eps), Projection(d_model, 2 * d_model, bias=False)
        blocks: list[Layer] = []
        for _ in range(n_layers):
            for part in (CrossAttention(d_model, n_heads, capacity), SwiGLU(d_model, d_ff or 4 * d_model)):
                drop = [Dropout(d_model, dropout)] if dropout else []
                blocks.append(Residual(RMSNorm(d_model, eps), part, *drop))
        self.body = Serial(*blocks, RMSNorm(d_model, eps))

    def stream_spec(self) -> StreamSpec:
        return spec_of("body", self.body)

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        self.stream_spec()
        like, frames = self.like(like), cast(int, self.capacity)
        kv = like.new_zeros(batch, frames, 2 * cast(int, self.d_in), dtype=state_dtype(like))
        return {
            "kv": kv,
            "mask": kv.new_zeros((batch, frames), dtype=torch.bool),
            "t": kv.new_zeros(batch, dtype=torch.int64),
            "body": self.body.init_state(batch, like=like),
        }

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        return self.body(x, Seq(self._keys_values(x, None), x.mask))

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        self.stream_spec()
        shared, new = self._remember(x, state)
        y, new["body"] = self.body.step(x, cast(State, state["body"]), shared)
        return y, new

    def prefill(self, x: Seq, state: State) -> tuple[Seq, State]:
        """step, but only the last real frame of each row goes through the layers: [B,T,D] -> [B,1,D].

        What makes YOCO's prompts cheap: of the frames before the last only keys and values are ever needed.
        """
        self.stream_spec()
        shared, new = self._remember(x, state)
        frames, capacity = x.mask.shape[1], cast(int, self.capacity)
        if x.dense:
            last, seen, skipped = x.slice(frames - 1, frames), shared.slice(frames - 1, frames + capacity), frames - 1
        else:
            at = (torch.arange(frames, device=x.mask.device) * x.mask).amax(1, keepdim=True)  # [B,1], 0 if none is real
            around = at + torch.arange(capacity + 1, device=x.mask.device)
            last = Seq(_take(x.values, at), x.mask.any(1, keepdim=True))
            seen = Seq(_take(shared.values, around), shared.mask.gather(1, around))
            skipped = (x.mask.sum(1) - 1).clamp(min=0)
        # of the layers' own state, which is the count of frames, all but the last are already behind
        counts = trees.map_tensors(lambda t: t + skipped, cast(State, state["body"]))
        y, new["body"] = self.body.step(last, counts, seen)
        return y, new

    def _keys_values(self, x: Seq, positions: Tensor | None) -> Tensor:
        k, v = self.kv(self.norm(x).zeroed()).chunk(2, -1)
        k = ops.rotate(k.unflatten(-1, (self.n_heads, -1)), positions).flatten(2)
        return torch.cat([k.to(v.dtype), v], -1)

    def _remember(self, x: Seq, state: State) -> tuple[Seq, State]:
        """The cached frames and the new ones, [B,capacity+T,2D], and the cache behind them."""
        positions, t = count(x, cast(Tensor, state["t"]))
        kv, kept = behind(cast(Tensor, state["kv"]), self._keys_values(x, positions))
        mask, real = behind(cast(Tensor, state["mask"]), x.mask)
        return Seq(kv, mask), {"kv": kept, "mask": real, "t": t}

    def frames(self, n: int) -> int:
        return n


def _take(values: Tensor, at: Tensor) -> Tensor:
    """The frames at [B,n] of values [B,T,D]: [B,n,D]."""
    return values.gather(1, at[..., None].expand(-1, -1, values.shape[2]))
