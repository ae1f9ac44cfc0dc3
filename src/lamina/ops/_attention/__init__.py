"""Attention: every query over all keys, over those up to its own, over a window, or over chunks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.ops._attention.relative import Relative
from lamina.ops._attention.relative import attend as attend_relative
from lamina.ops.registry import hidden, tracing

__all__ = ["Relative", "attention"]

LONG, LARGE = 32, 512  # keys; from the first on it pays to look how many of a cache are filled


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    before: int = 0,
    left: int | None = None,
    right: int | None = None,
    chunk: int | None = None,
    relative: Relative | None = None,
) -> Tensor:
    """softmax(q k^T / sqrt(K)) v over the keys that a query may see (Vaswani et al. 2017, arXiv:1706.03762).

    q [B,T,H,K]; k, v [B,S,H,K]; mask [B,S], True = a real key, None: all are -> [B,T,H,K].
    Query i stands at key before + i (`before` keys come from a cache). It sees that key, and of the real ones
        memory  left=None, right=None   all (and its own only if real; S is free)
        causal  left=None, right=0      those up to its own
        window  left, right             from `left` before its own to `right` behind it
        chunk   chunk, left             its whole chunk of queries, and `left` before that
    The work is linear in T where left and right or chunk are given. relative: scores of the distance beside the
    content's.
    """
    frames, keys = q.shape[1], k.shape[1]
    if not frames:
        return torch.zeros_like(q)
    plain = chunk is None and relative is None
    if plain and right == 0 and not before and frames == keys and (left is None or left >= frames - 1):
        # no mask: padding stands to the right, where no real query looks
        return _whole(q, k, v, causal=True)
    everything = plain and left is None and right is None
    if everything and mask is None and keys:
        return _whole(q, k, v)
    mask = k.new_ones(k.shape[:2], dtype=torch.bool) if mask is None else mask
    if everything:
        if _all(mask, frames):
            return _whole(q, k, v)
        return _attend(q[:, None], k[:, None], v[:, None], mask[:, None, None])
    reach = before + frames + keys
    left, right = reach if left is None else min(left, reach), reach if right is None else min(right, reach)
    block = max(32, left + right) if chunk is None else chunk  # the queries of a block share their keys
    if frames <= block:
        k, v, mask, before = _filled(k, v, mask, before)
        if plain and left >= before and right >= k.shape[1] - before - 1 and _all(mask, frames):
            return _whole(q, k, v)
        q, k, v, mask = q[:, None], k[:, None], v[:, None], mask[:, None]
    else:
        q, k, v, mask = _blocks(q, k, v, mask, before, block, left, right if chunk is None else 0)
        before = left
    i = torch.arange(q.shape[2], device=q.device)[:, None] + before
    j = torch.arange(k.shape[2], device=q.device)
    near = (j >= i - left) & (j <= i + right) if chunk is None else j >= before - left
    return _attend(q, k, v, near & mask[:, :, None, :] | (i == j), relative, before)[:, :frames]


def _all(mask: Tensor, frames: int) -> bool:
    """Whether a step's one frame may see every key: then no mask is made for it."""
    return frames == 1 and not hidden() and bool(mask.all())


def _whole(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False) -> Tensor:
    """q [B,T,H,K], k and v [B,S,H,K] -> [B,T,H,K] without a mask."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2)


def _attend(
    q: Tensor, k: Tensor, v: Tensor, allowed: Tensor, relative: Relative | None = None, before: int = 0
) -> Tensor:
    """q [B,n,T,H,K], k and v [B,n,S,H,K], allowed [B,n,T or 1,S] -> [B,n*T,H,K]; a query without any key gives 0."""
    batch, n = q.shape[:2]
    q, k, v = (x.flatten(0, 1).transpose(1, 2) for x in (q, k, v))
    allowed = allowed.flatten(0, 1)[:, None]
    if relative is None:
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    else:
        y = attend_relative(q, k, v, allowed, relative, before)
    return y.transpose(1, 2).unflatten(0, (batch, n)).flatten(1, 2)


def _filled(k: Tensor, v: Tensor, mask: Tensor, before: int) -> tuple[Tensor, Tensor, Tensor, int]:
    """Without the oldest frames of a cache that are still empty in every row: a young stream steps faster."""
    if before < LONG or tracing() or (before <= LARGE and hidden()):
        return k, v, mask, before
    empty = min(before, int(mask.any(0).to(torch.uint8).argmax()))
    return k[:, empty:], v[:, empty:], mask[:, empty:], before - empty


def _blocks(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, before: int, block: int, left: int, right: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q [B,n,block,H,K]; k, v [B,n,left+block+right,H,K] and mask: the keys around each block of queries."""
    n = -(-q.shape[1] // block)
    ahead, behind = left - before, n * block + before + right - k.shape[1]  # negative: cut
    q = F.pad(q, (0, 0, 0, 0, 0, n * block - q.shape[1])).unflatten(1, (n, block))
    k, v = (F.pad(x, (0, 0, 0, 0, ahead, behind)) for x in (k, v))
    mask = F.pad(mask, (ahead, behind))
    at = torch.arange(n, device=q.device)[:, None] * block + torch.arange(left + block + right, device=q.device)
    return q, k[:, at], v[:, at], mask[:, at]
