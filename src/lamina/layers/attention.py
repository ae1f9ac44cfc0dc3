"""Self-attention over a window, over all of the past, or over chunks, with rotary positions."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, cast

import torch
from torch import Tensor

from lamina import ops
from lamina.core import Layer, NotStreamable, Packed, Seq, State, StreamSpec, each_length
from lamina.core import state as trees
from lamina.core.layer import state_dtype
from lamina.layers.cache import behind
from lamina.layers.position import count
from lamina.layers.projection import Projection
from lamina.layers.relative import RelativePosition
from lamina.layers.short_conv import ShortConv, convolved
from lamina.ops import Relative
from lamina.ops.registry import tracing

__all__ = ["Attention", "CausalAttention", "ChunkAttention", "WindowAttention"]

FEW, SHORT = 8, 512  # frames of a step, and of a cache


class Attention(Layer):
    """What they share: the projections, and a cache of the last keys and values with their mask. [B,T,D] -> [B,T,D].

    Keys are turned by their positions once, before they are cached: positions count real frames and angles are computed
    in float64, so the product of two frames is as exact in an old stream as in a young one. Relative positions
    (rotary=False, relative=True) add a score of the distance, which needs no state: a row's real frames stand together.
    """

    chunked: ClassVar[bool] = False  # frames of a chunk see each other

    def __init__(self, d_model: int, n_heads: int, rotary: bool, short_conv: int, relative: bool) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"{type(self).__name__}: d_model={d_model} is not a multiple of n_heads={n_heads}")
        if rotary and d_model // n_heads % 2:
            raise ValueError(
                f"{type(self).__name__}: rotary positions turn pairs; d_model/n_heads={d_model // n_heads} is odd"
            )
        if rotary and relative:
            raise ValueError(f"{type(self).__name__}: positions are rotary or relative; set rotary=False for relative")
        self.d_in = self.d_out = d_model
        self.n_heads, self.rotary = n_heads, rotary
        self.relative = RelativePosition(d_model, n_heads) if relative else None
        self.qkv, self.out = Projection(d_model, 3 * d_model), Projection(d_model, d_model)
        self.conv = ShortConv(3 * d_model, short_conv, bias=False) if short_conv else None

    @abstractmethod
    def reach(self) -> tuple[int, int]:
        """How many frames before and behind its own a frame sees, those of its chunk not counted; or NotStreamable."""

    @abstractmethod
    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, before: int, places: Relative | None
    ) -> Tensor:
        """q [B,T,H,K] against k, v [B,before+T+behind,H,K]."""

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        like, width, (left, right) = self.like(like), cast(int, self.d_in), self.reach()
        keys = like.new_zeros(batch, left + right, self.n_heads, width // self.n_heads, dtype=state_dtype(like))
        state: State = {"k": keys, "v": keys.clone(), "mask": keys.new_zeros((batch, left + right), dtype=torch.bool)}
        if right:  # the queries that wait for their lookahead; their mask is the keys'
            state["q"] = keys[:, :right].clone()
        if self.rotary:
            state["t"] = keys.new_zeros(batch, dtype=torch.int64)
        if self.conv is not None:
            state["conv"] = self.conv.init_state(batch, like=like)
        return state

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        q, k, v, _ = self.heads(x, None)
        if isinstance(x, Packed):  # each row attends to itself
            places = self.places(max(x.rows))
            y = each_length(lambda *row: self.attend(*row, None, 0, places), *((t, x.rows) for t in (q, k, v)))
        else:
            y = self.attend(q, k, v, None if x.dense else x.mask, 0, self.places())
        return x.with_values(self.out(y.flatten(2)))

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        left, right = self.reach()
        past, frames = cast("dict[str, Tensor]", state), x.mask.shape[1]
        q, k, v, new = self.heads(x, state)
        mask, new["mask"] = behind(past["mask"], x.mask)
        if right:
            q, new["q"] = behind(past["q"], q)
            q = q[:, :frames]
        if self._short(q, past["k"]):  # the cache is copied, and the copy attended to where it lies
            owned = trees.owned() and past["k"].is_contiguous()
            new["k"], new["v"] = (
                past[name] if owned else past[name].clone(memory_format=torch.contiguous_format) for name in ("k", "v")
            )
            y = ops.window_rows(q, k, v, mask, new["k"], new["v"], torch.arange(len(q)))
        else:
            k, new["k"] = behind(past["k"], k)
            v, new["v"] = behind(past["v"], v)
            y = self.attend(q, k, v, mask, left, self.places())
        return Seq(self.out(y.flatten(2)), mask[:, left : left + frames].clone()).hint(dense=x.dense and not right), new

    def _short(self, q: Tensor, keys: Tensor) -> bool:
        """Whether a step has few frames and a short cache, on a CPU, and nobody looks inside it."""
        if self.chunked or self.relative is not None or tracing() or torch.is_grad_enabled():
            return False
        return q.is_cpu and q.dtype == keys.dtype and 0 < q.shape[1] <= FEW and keys.shape[1] <= SHORT

    def step_rows(self, x: Seq, state: State, rows: Tensor, memory: Seq | None = None) -> Seq:
        if self.chunked or self.relative is not None:
            return super().step_rows(x, state, rows)
        (left, right), frames = self.reach(), x.mask.shape[1]
        cache = cast("dict[str, Tensor]", {name: state[name] for name in ("k", "v")})
        past = trees.gather({name: tensor for name, tensor in state.items() if name not in cache}, rows)
        q, k, v, new = self.heads(x, past)
        mask, new["mask"] = behind(cast(Tensor, past["mask"]), x.mask)
        if right:
            q, new["q"] = behind(cast(Tensor, past["q"]), q)
            q = q[:, :frames]
        y = ops.window_rows(q, k, v, mask, cache["k"], cache["v"], rows)
        trees.put({name: state[name] for name in new}, rows, new)
        return Seq(self.out(y.flatten(2)), mask[:, left : left + frames].clone()).hint(dense=x.dense and not right)

    def heads(self, x: Seq, state: State | None) -> tuple[Tensor, Tensor, Tensor, State]:
        """q, k, v of every frame, [B,T,H,K], and the new state's part; an absent frame's key and value are zeros."""
        qkv, new = convolved(self.conv, x.with_values(self.qkv(x.zeroed())), state)
        qk, v = qkv.unflatten(-1, (3 * self.n_heads, -1)).split((2 * self.n_heads, self.n_heads), 2)
        if self.rotary and state is None:
            qk = ops.rotate(qk, x.positions() if isinstance(x, Packed) else None).to(v.dtype)
        elif self.rotary and state is not None:
            positions, new["t"] = count(x, cast(Tensor, state["t"]))
            qk = ops.rotate(qk, positions).to(v.dtype)
        q, k = qk.chunk(2, 2)
        if not x.dense:
            real = x.mask[..., None, None]
            k, v = torch.where(real, k, 0), torch.where(real, v, 0)
        return q, k, v, new

    def places(self, longest: int = 0) -> Relative | None:
        """What the op needs for relative positions, where it has them."""
        return None if self.relative is None else self.relative(longest)

    def frames(self, n: int) -> int:
        return n


class WindowAttention(Attention):
    """Attention of each frame to `left` frames before it, itself and `right` after it (Vaswani et al. 2017).

        y_t = W_o sum_s softmax_s(q_t . k_s / sqrt(K)) v_s,    t - left <= s <= t + right

    [B,T,D] -> [B,T,D]; delay right. left=None is all of the past and does not stream; right=None all of the future.
    state {"k", "v": [B,left+right,H,K], "mask": [B,left+right], with rotary "t": [B], with a lookahead
    "q": [B,right,H,K], with short_conv "conv"}: about 2 * (left + right) * D * 4 bytes a stream.
    Forward takes O(T * (left + right) * D), O(T^2 * D) without left. short_conv: taps of a convolution over q, k and v.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int = 4,
        left: int | None = 128,
        right: int | None = 0,
        rotary: bool = True,
        short_conv: int = 0,
        relative: bool = False,
    ) -> None:
        if (left is not None and left < 0) or (right is not None and right < 0):
            raise ValueError(f"WindowAttention: left={left} and right={right} are numbers of frames, or None")
        if left is not None and right is None:
            raise ValueError("WindowAttention: right=None (all of the future) goes with left=None (all of the past)")
        if left is None and right:
            raise ValueError(f"WindowAttention: right={right} needs a left; left=None takes right=0 or right=None")
        super().__init__(d_model, n_heads, rotary, short_conv, relative)
        self.left, self.right = left, right

    def stream_spec(self) -> StreamSpec:
        return StreamSpec(delay=self.reach()[1])

    def reach(self) -> tuple[int, int]:
        if self.left is None or self.right is None:
            what = "the whole past" if self.right is not None else "the whole input"
            raise NotStreamable(
                f"attention over {what} has no bounded state; give left=128 or another number of frames"
            )
        return self.left, self.right

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, before: int, places: Relative | None
    ) -> Tensor:
        return ops.attention(q, k, v, mask, before=before, left=self.left, right=self.right, relative=places)


class CausalAttention(Attention):
    """Attention of each frame to itself and all frames before it, as far as a cache of `capacity` frames holds them.

        y_t = W_o sum_s softmax_s(q_t . k_s / sqrt(K)) v_s,    t - capacity <= s <= t      (Vaswani et al. 2017)

    [B,T,D] -> [B,T,D]; state {"k", "v": [B,capacity,H,K], "mask": [B,capacity], with rotary "t": [B], with short_conv
    "conv"}: capacity * (2 * D * 4 + 1) + 8 bytes a stream, whatever its age. A full cache forgets its oldest frame, in
    forward as in step; up to capacity frames this is full causal attention. capacity=None has no bound and does not
    stream. A step takes the longer the fuller the cache is; it copies it, since it leaves its arguments alone.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int = 4,
        capacity: int | None = 4096,
        rotary: bool = True,
        short_conv: int = 0,
        relative: bool = False,
    ) -> None:
        if capacity is not None and capacity < 1:
            raise ValueError(f"CausalAttention: capacity={capacity} is a number of frames, or None")
        super().__init__(d_model, n_heads, rotary, short_conv, relative)
        self.capacity = capacity

    def stream_spec(self) -> StreamSpec:
        self.reach()
        return StreamSpec()

    def reach(self) -> tuple[int, int]:
        if self.capacity is None:
            raise NotStreamable("attention over the whole past has no bounded state; give capacity=4096 or another one")
        return self.capacity, 0

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, before: int, places: Relative | None
    ) -> Tensor:
        return ops.attention(q, k, v, mask, before=before, left=self.capacity, right=0, relative=places)


class ChunkAttention(Attention):
    """Attention of each frame to its own chunk and `left` frames before it (Chen et al. 2020, arXiv:2010.11395).

        y_t = W_o sum_s softmax_s(q_t . k_s / sqrt(K)) v_s,    s in t's chunk or in the `left` frames before it

    [B,T,D] -> [B,T,D]; block chunk, delay 0. state {"k", "v": [B,left,H,K], "mask": [B,left], with rotary "t": [B],
    with short_conv "conv"}: 2 * left * D * 4 bytes a stream, the mask and the count.
    """

    chunked = True

    def __init__(
        self,
        d_model: int,
        n_heads: int = 4,
        chunk: int = 16,
        left: int = 64,
        rotary: bool = True,
        short_conv: int = 0,
        relative: bool = False,
    ) -> None:
        if chunk < 1 or left < 0:
            raise ValueError(f"ChunkAttention: chunk={chunk} must be at least 1 and left={left} at least 0")
        super().__init__(d_model, n_heads, rotary, short_conv, relative)
        self.chunk, self.left = chunk, left

    def stream_spec(self) -> StreamSpec:
        return StreamSpec(block=self.chunk)

    def reach(self) -> tuple[int, int]:
        return self.left, 0

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, before: int, places: Relative | None
    ) -> Tensor:
        return ops.attention(q, k, v, mask, before=before, left=self.left, chunk=self.chunk, relative=places)
