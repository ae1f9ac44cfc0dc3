"""Traps of memories: a scale that only one form knows, a cache that is full, a sum that grows; right is the twin."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.core import Seq
from trap_layers import Base, D


class Rescaled(Base):
    """S_t = 0.9 S_{t-1} + k_t v_t^T, read by q_t; wrong: forward divides by a scale that its own scores give.

    Seen in torchscale: behind a norm the scale is meant to vanish, and does but for the norm's eps.
    """

    def init_state(self, batch, *, like=None, memory=None):
        return {"S": self.zeros(batch, D, D, like=like)}

    def norm(self, o: Tensor) -> Tensor:
        return o / (o.square().mean(-1, keepdim=True) + 1e-3).sqrt()

    def forward(self, x: Seq, memory=None) -> Seq:
        k, v = x.zeroed(), x.zeroed() @ self.weight
        t = torch.arange(k.shape[1], device=k.device)
        scores = k @ k.mT * torch.where(t[:, None] >= t, 0.9 ** (t[:, None] - t).to(k.dtype), 0.0)
        if not self.right:
            scores = scores / scores.detach().abs().sum(-1, keepdim=True).clamp(min=1)
        return x.with_values(self.norm(scores @ v))

    def step(self, x: Seq, state, memory=None):
        S, k, v, outputs = state["S"], x.zeroed(), x.zeroed() @ self.weight, []
        for t in range(k.shape[1]):
            fade = torch.where(x.mask[:, t, None, None], 0.9, 1.0).to(S.dtype)
            S = fade * S + k[:, t, :, None] * v[:, t, None, :]
            outputs.append(torch.einsum("bkv,bk->bv", S, k[:, t].to(S.dtype)))
        return x.with_values(self.norm(torch.stack(outputs, 1).to(k.dtype))), {"S": S}


class FullCache(Base):
    """The mean of the last 5 real frames; wrong: a cache of 4 that is full takes no more, without a word."""

    def init_state(self, batch, *, like=None, memory=None):
        return {"x": self.zeros(batch, 4, D, like=like), "mask": self.zeros(batch, 4, like=like, dtype=torch.bool)}

    def step(self, x: Seq, state, memory=None):
        cache, seen, outputs = state["x"], state["mask"], []
        for t in range(x.mask.shape[1]):
            now, real = x.zeroed()[:, t : t + 1].to(cache.dtype), x.mask[:, t : t + 1]
            every, mask = torch.cat([cache, now], 1), torch.cat([seen, real], 1)
            outputs.append(torch.where(mask[..., None], every, 0).sum(1) / mask.sum(1, keepdim=True).clamp(min=1))
            room = ~seen[:, :1] if not self.right else torch.ones_like(real)  # the oldest slot is still empty
            moves = (real & room)[..., None]
            cache = torch.where(moves, every[:, 1:], cache)
            seen = torch.where(moves[..., 0], mask[:, 1:], seen)
        mean = torch.stack(outputs, 1).to(x.values.dtype)
        return x.with_values(mean @ self.weight), {"x": cache, "mask": seen}

    def forward(self, x: Seq, memory=None) -> Seq:
        t = torch.arange(x.mask.shape[1])
        near = ((t[:, None] >= t) & (t[:, None] - t < 5)).to(x.values.dtype)
        return x.with_values(near @ x.zeroed() / near.sum(-1, keepdim=True) @ self.weight)


class GrowingSum(Base):
    """The mean of all frames so far, in float32; wrong: every frame is added to the one large sum.

    Right: what a step of many frames brings is added up by itself first.
    """

    def init_state(self, batch, *, like=None, memory=None):
        return {"sum": self.zeros(batch, D, like=like), "n": self.zeros(batch, 1, like=like)}

    def step(self, x: Seq, state, memory=None):
        values = (x.zeroed() + 1.0) @ self.weight * x.mask[..., None]
        n = state["n"][:, None] + x.mask[..., None].cumsum(1).to(state["n"].dtype)
        if self.right:
            local = values.to(state["sum"].dtype).cumsum(1)
            sums = state["sum"][:, None] + local
        else:
            total, parts = state["sum"], []
            for t in range(values.shape[1]):
                total = total + values[:, t]
                parts.append(total)
            sums = torch.stack(parts, 1)
        y = sums / n.clamp(min=1)
        return x.with_values(y.to(x.values.dtype)), {"sum": sums[:, -1].to(state["sum"].dtype), "n": n[:, -1]}
