"""Retention with a fixed or a data-dependent decay, and linear attention, which has none."""

from __future__ import annotations

from abc import abstractmethod
from functools import lru_cache
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina import ops
from lamina.core import Seq, State
from lamina.layers.memory import MatrixMemory
from lamina.layers.position import count
from lamina.ops.registry import tracing

__all__ = ["GatedRetention", "LinearAttention", "Retention"]


class _Retention(MatrixMemory):
    """Queries and keys turned by their positions, a norm a head, a gate; a subclass gives the decay.

    k is not scaled by K^(-1/2): the norm behind takes any scale out again, and eps * K is what the scale leaves there.
    """

    def __init__(
        self, d_model: int, n_heads: int, value_factor: int, short_conv: int, eps: float, *logits: int
    ) -> None:
        super().__init__(d_model, n_heads, value_factor, short_conv, value_factor * d_model, *logits)
        if self.d_head % 2:
            raise ValueError(f"{type(self).__name__}: positions turn pairs; d_model/n_heads={self.d_head} is odd")
        self.eps, self.closed = eps, True
        self.norm: nn.Parameter | None = None

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        state = super().init_state(batch, like=like)
        return {**state, "t": cast(Tensor, state["S"]).new_zeros(batch, dtype=torch.int64)}

    def mix(
        self, x: Seq, qk: Tensor, v: Tensor, others: tuple[Tensor, ...], state: State | None
    ) -> tuple[Tensor, State]:
        gate, *logits = others
        S, t, positions = None, None, None
        if state is not None:
            S = cast(Tensor, state["S"])
            positions, t = count(x, cast(Tensor, state["t"]))
        q, k = ops.rotate(qk, positions, closed=self.closed).chunk(2, 2)
        log_decay = self.log_decay(k, *logits)
        if state is not None and not x.dense:  # an absent frame writes nothing and lets nothing fade
            k, log_decay = torch.where(x.mask[..., None, None], k, 0), torch.where(x.mask[..., None], log_decay, 0)
        y, S = ops.retention(q, k, v, log_decay, S)
        y = ops.rms_norm(y, self.norm, gate.view(y.shape), self.eps * self.d_head)
        return y.flatten(2), {"S": S} if t is None else {"S": S, "t": t}

    @abstractmethod
    def log_decay(self, k: Tensor, *logits: Tensor) -> Tensor:
        """[H], or [B,T,H] from the frame's logits; in the dtype of k."""


class Retention(_Retention):
    """Multi-scale retention: linear attention with a fixed decay a head (Sun et al. 2023, arXiv:2307.08621).

        S_t = a S_{t-1} + k_t v_t^T,    o_t = S_t^T q_t,    a = 1 - 2^(-5-h),    q, k turned by their positions
        y_t = W_o (silu(W_g x_t) * norm(o_t)),    norm = RMS over each head, without weights

    [B,T,D] -> [B,T,D]; state {"S": [B,H,K,V], float32 or wider, "t": [B] int64}, K = D/H, V = value_factor * K:
    value_factor * D^2/H * 4 + 8 bytes a stream, whatever its age. Positions are exact beyond 1e6 frames.
    Absent frames leave the state unchanged. value_factor: the paper has 2, and a feed-forward half as wide to make up
    for it; 1 gives nearly the weights of attention, so that mixers can be exchanged. short_conv: taps of a convolution
    over q, k and v, 0 for none. As others have it: closed=False, the pairs turn as in attention; weighted, the norm has
    a weight a channel.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int = 4,
        value_factor: int = 1,
        short_conv: int = 0,
        eps: float = 1e-6,
        closed: bool = True,
        weighted: bool = False,
    ) -> None:
        super().__init__(d_model, n_heads, value_factor, short_conv, eps)
        self.closed = closed
        if weighted:
            self.norm = nn.Parameter(torch.ones(self.d_value // n_heads))

    def log_decay(self, k: Tensor, *logits: Tensor) -> Tensor:
        decay = _fixed if tracing() else _kept
        return decay(self.n_heads, k.dtype, k.device)


class GatedRetention(_Retention):
    """Retention whose decay depends on the frame (Sun et al. 2024, arXiv:2405.05254).

        S_t = a_t S_{t-1} + k_t v_t^T,    o_t = S_t^T q_t,    a_t = sigmoid(W_a x_t)^(1/tau), a number a head
        y_t = W_o (silu(W_g x_t) * norm(o_t))

    [B,T,D] -> [B,T,D]; state, value_factor and short_conv as Retention's: value_factor * D^2/H * 4 + 8 bytes a stream.
    tau = 16 keeps the decay near 1 at first: 0.958 for a logit of 0.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int = 4,
        value_factor: int = 1,
        short_conv: int = 0,
        tau: float = 16.0,
        eps: float = 1e-6,
    ) -> None:
        super().__init__(d_model, n_heads, value_factor, short_conv, eps, n_heads)
        self.tau = tau

    def log_decay(self, k: Tensor, *logits: Tensor) -> Tensor:
        return F.logsigmoid(logits[0].to(k.dtype)) / self.tau


class LinearAttention(MatrixMemory):
    """Attention with a feature map for the softmax; nothing fades (Katharopoulos et al. 2020, arXiv:2006.16236).

        S_t = S_{t-1} + f(k_t) v_t^T,    z_t = z_{t-1} + f(k_t),    f(x) = elu(x) + 1
        y_t = W_o (S_t^T f(q_t)) / (z_t . f(q_t))

    [B,T,D] -> [B,T,D]; state {"S": [B,H,K,V+1], float32 or wider}: z is one more column of S, since it is what a value
    that is always 1 would write. n_heads * K * (V+1) * 4 bytes a stream. Absent frames leave it unchanged.
    value_factor and short_conv as Retention's. Sums lose digits as they grow: in float32 the relative error is about
    3e-8 * sqrt(steps), 1e-5 after 1e5 steps of one frame, and they stop at 2^24.
    """

    def __init__(
        self, d_model: int, n_heads: int = 4, value_factor: int = 1, short_conv: int = 0, eps: float = 1e-6
    ) -> None:
        super().__init__(d_model, n_heads, value_factor, short_conv)
        self.eps = eps

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        state = super().init_state(batch, like=like)
        return {**state, "S": F.pad(cast(Tensor, state["S"]), (0, 1))}

    def mix(
        self, x: Seq, qk: Tensor, v: Tensor, others: tuple[Tensor, ...], state: State | None
    ) -> tuple[Tensor, State]:
        q, k = (F.elu(qk) + 1).chunk(2, 2)
        if state is not None and not x.dense:
            k = torch.where(x.mask[..., None, None], k, 0)
        S = None if state is None else cast(Tensor, state["S"])
        single = q.shape[1] == 1
        y, new = ops.retention(q, k, F.pad(v, (0, 1), value=1.0), q.new_zeros(self.n_heads), S if single else None)
        if S is not None and not single:  # a long step is summed by itself first: fewer roundings of the large sums
            y, new = (y + torch.einsum("bthk,bhkv->bthv", q.to(S.dtype), S)).to(v.dtype), S + new
        y = y[..., :-1] / (y[..., -1:] + self.eps)  # eps: before the first real frame both are 0
        return y.flatten(2), {"S": new}


def _fixed(n_heads: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """log(1 - 2^(-5-h)) for every head."""
    heads = torch.arange(n_heads, device=device, dtype=torch.float64)
    return torch.log1p(-(2.0 ** (-5 - heads))).to(dtype)


@lru_cache(maxsize=64)
def _kept(n_heads: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():  # a tensor of inference mode could not be trained with later
        return _fixed(n_heads, dtype, device)
