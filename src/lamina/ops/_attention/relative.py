"""Relative positions: a score for each distance between a query and a key, beside that of their contents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.ops.registry import tracing

__all__ = ["Relative", "attend"]


@dataclass(frozen=True)
class Relative:
    """u, v [H,K], and vectors(far, near): those of the distances far, far - 1, ..., near, [far-near+1,H,K].

    score(i, j) = ((q_i + u) . k_j + (q_i + v) . r_{i-j}) / sqrt(K)    (Dai et al. 2019, arXiv:1901.02860)
    """

    u: Tensor
    v: Tensor
    vectors: Callable[[int, int], Tensor]


def attend(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor, relative: Relative, before: int) -> Tensor:
    """q [N,H,T,K], k and v [N,H,S,K]; allowed [N,1,T or 1,S]; query i stands at key before + i -> [N,H,T,K]."""
    frames, keys, scale = q.shape[2], k.shape[2], q.shape[3] ** -0.5
    r = relative.vectors(before + frames - 1, before - keys + 1).permute(1, 2, 0)  # [H,K,T+S-1]
    rows = ((q + relative.v[:, None]) * scale).transpose(0, 1).flatten(1, 2)  # [H,N*T,K]: one product a head
    place = (rows @ r).unflatten(1, (-1, frames)).transpose(0, 1)
    place = torch.where(allowed, _along_keys(place, keys), -torch.inf)
    q = q + relative.u[:, None]
    if torch.is_grad_enabled() and place.requires_grad:  # PyTorch's fused kernel has no gradient of what is added
        scores = torch.baddbmm(place.flatten(0, 1), q.flatten(0, 1) * scale, k.flatten(0, 1).transpose(1, 2))
        return scores.softmax(-1).unflatten(0, q.shape[:2]) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=place.to(q.dtype))


def _along_keys(scores: Tensor, keys: int) -> Tensor:
    """[N,H,T,M] by distance, the farthest first, M = T + S - 1 -> [N,H,T,S] by key: row i begins T - 1 - i later."""
    frames, distances = scores.shape[2:]
    if not tracing():  # a view: every row begins one number earlier than the row before
        rows, heads, row, one = scores.stride()
        at = scores.storage_offset() + frames - 1
        return scores.as_strided((*scores.shape[:3], keys), (rows, heads, row - one, one), at)
    shifted = F.pad(scores, (1, 0)).flatten(2).unflatten(2, (distances + 1, frames))
    return shifted[:, :, 1:].flatten(2).unflatten(2, (frames, distances))[..., :keys]
