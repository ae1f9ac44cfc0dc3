"""Self-attention over a window or over chunks, with rotary positions relative to the window."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina import ops
from lamina.core import Layer, NotStreamable, Seq, State, StreamSpec
from lamina.core.layer import state_dtype

__all__ = ["ChunkAttention", "WindowAttention"]


class _Attention(Layer):
    """What the two share: the projections, and a cache of unrotated keys and values with their mask."""

    def __init__(self, d_model: int, n_heads: int, rotary: bool, cache: int) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"{type(self).__name__}: d_model={d_model} is not a multiple of n_heads={n_heads}")
        if rotary and d_model // n_heads % 2:
            raise ValueError(
                f"{type(self).__name__}: rotary positions turn pairs; d_model/n_heads={d_model // n_heads} is odd"
            )
        self.d_in = self.d_out = d_model
        self.n_heads, self.rotary, self.cache = n_heads, rotary, cache
        self.qkv, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        self.stream_spec()
        like, width = self.like(like), cast(int, self.d_in)
        keys = like.new_zeros(batch, self.cache, self.n_heads, width // self.n_heads, dtype=state_dtype(like))
        return {"k": keys, "v": keys.clone(), "mask": keys.new_zeros((batch, self.cache), dtype=torch.bool)}

    def heads(self, x: Seq) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v of every frame, [B,T,H,K]; an absent frame's key and value are zeros."""
        q, k, v = self.qkv(x.zeroed()).unflatten(-1, (3, self.n_heads, -1)).unbind(2)
        if x.dense:
            return q, k, v
        real = x.mask[..., None, None]
        return q, torch.where(real, k, 0), torch.where(real, v, 0)

    def remember(self, x: Seq, k: Tensor, v: Tensor, state: State) -> tuple[Tensor, Tensor, Tensor, State]:
        """The cached frames and the new ones, and the cache behind them. Attend first, forget after."""
        past = cast("dict[str, Tensor]", state)
        keys, values = (torch.cat([past[n].to(t.dtype), t], 1) for n, t in (("k", k), ("v", v)))
        mask, frames = torch.cat([past["mask"], x.mask], 1), x.mask.shape[1]
        kept = {n: t[:, frames:].to(past[n].dtype, copy=True) for n, t in (("k", keys), ("v", values), ("mask", mask))}
        return keys, values, mask, cast(State, kept)

    def frames(self, n: int) -> int:
        return n


class WindowAttention(_Attention):
    """Attention of each frame to `left` frames before it, itself and `right` after it (Vaswani et al. 2017).

        y_t = W_o sum_s softmax_s(q_t . k_s / sqrt(K)) v_s,    t - left <= s <= t + right

    [B,T,D] -> [B,T,D]; delay right. left=None is all of the past and does not stream; right=None all of the future.
    state {"k", "v": [B,left+right,H,K], "mask": [B,left+right], and "q": [B,right,H,K]}:
    about 2 * (left + right) * D * 4 bytes a stream. Forward takes O(T * (left + right) * D), O(T^2 * D) without left.
    Rotary positions are relative to the window, so the angles of a long stream stay exact.
    """

    def __init__(
        self, d_model: int, n_heads: int = 4, left: int | None = 128, right: int | None = 0, rotary: bool = True
    ) -> None:
        if (left is not None and left < 0) or (right is not None and right < 0):
            raise ValueError(f"WindowAttention: left={left} and right={right} are numbers of frames, or None")
        if left is not None and right is None:
            raise ValueError("WindowAttention: right=None (all of the future) goes with left=None (all of the past)")
        if left is None and right:
            raise ValueError(f"WindowAttention: right={right} needs a left; left=None takes right=0 or right=None")
        super().__init__(d_model, n_heads, rotary, (left or 0) + (right or 0))
        self.left, self.right = left, right

    def stream_spec(self) -> StreamSpec:
        return StreamSpec(delay=self._bounds()[1])

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        state = super().init_state(batch, like=like)
        if self.right:  # the queries that wait for their lookahead; their mask is the keys'
            state["q"] = cast(Tensor, state["k"])[:, : self.right].clone()
        return state

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        (q, k, v), frames = self.heads(x), x.mask.shape[1]
        if self.left is None or self.right is None:
            mask = None if x.dense else x.mask
            y = ops.full_attention(q, k, v, mask, causal=self.right is not None, rotary=self.rotary)
        elif frames <= self.left + 1 and not self.right:  # the window holds all of the past
            y = ops.full_attention(q, k, v, None, causal=True, rotary=self.rotary)
        else:
            band = min(self.left, frames), min(self.right, frames)
            around = (0, 0, 0, 0, *band)
            y = self._windows(q, F.pad(k, around), F.pad(v, around), F.pad(x.mask, band), band)
        return x.with_values(self.out(y.flatten(2)))

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        left, right = self._bounds()
        q, k, v = self.heads(x)
        keys, values, mask, new = self.remember(x, k, v, state)
        if right:
            waiting = cast(Tensor, state["q"])
            queries = torch.cat([waiting.to(q.dtype), q], 1)
            q = queries[:, : q.shape[1]]
            new["q"] = queries[:, q.shape[1] :].to(waiting.dtype, copy=True)
        y = self.out(self._windows(q, keys, values, mask, (left, right)).flatten(2))
        return Seq(y, mask[:, left : left + y.shape[1]].clone()).hint(dense=x.dense and not right), new

    def _bounds(self) -> tuple[int, int]:
        if self.left is None or self.right is None:
            what = "the whole past" if self.right is not None else "the whole input"
            raise NotStreamable(
                f"attention over {what} has no bounded state; give left=128 or another number of frames"
            )
        return self.left, self.right

    def _windows(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, band: tuple[int, int]) -> Tensor:
        """q [B,T,H,K] against keys [B,left+T+right,H,K], in blocks that keep the work linear in T."""
        (left, right), frames = band, q.shape[1]
        if not frames:
            return q
        block = min(frames, max(32, left + right))
        behind = -frames % block
        if behind:
            q, k, v = (F.pad(t, (0, 0, 0, 0, 0, behind)) for t in (q, k, v))
            mask = F.pad(mask, (0, behind))
        return ops.block_attention(q, k, v, mask, block=block, before=left, band=band, rotary=self.rotary)[:, :frames]


class ChunkAttention(_Attention):
    """Attention of each frame to its own chunk and `left` frames before it (Chen et al. 2020, arXiv:2010.11395).

        y_t = W_o sum_s softmax_s(q_t . k_s / sqrt(K)) v_s,    s in t's chunk or in the `left` frames before it

    [B,T,D] -> [B,T,D]; block chunk, delay 0. state {"k", "v": [B,left,H,K], "mask": [B,left]}:
    2 * left * D * 4 bytes a stream and the mask. Rotary positions are relative to the chunk's window.
    """

    def __init__(self, d_model: int, n_heads: int = 4, chunk: int = 16, left: int = 64, rotary: bool = True) -> None:
        if chunk < 1 or left < 0:
            raise ValueError(f"ChunkAttention: chunk={chunk} must be at least 1 and left={left} at least 0")
        super().__init__(d_model, n_heads, rotary, left)
        self.chunk = chunk

    def stream_spec(self) -> StreamSpec:
        return StreamSpec(block=self.chunk)

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        frames = x.mask.shape[1]
        behind = -frames % self.chunk
        q, k, v = (F.pad(t, (0, 0, 0, 0, 0, behind)) for t in self.heads(x))
        k, v = (F.pad(t, (0, 0, 0, 0, self.cache, 0)) for t in (k, v))
        y = self._chunks(q, k, v, F.pad(x.mask, (self.cache, behind)))
        return x.with_values(self.out(y[:, :frames].flatten(2)))

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        q, k, v = self.heads(x)
        keys, values, mask, new = self.remember(x, k, v, state)
        return x.with_values(self.out(self._chunks(q, keys, values, mask).flatten(2))), new

    def _chunks(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        if not q.shape[1]:
            return q
        return ops.block_attention(q, k, v, mask, block=self.chunk, before=self.cache, band=None, rotary=self.rotary)
