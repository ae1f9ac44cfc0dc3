"""Attention over blocks of queries, each with the keys just before, in and after it: the window and the chunk form."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.ops.registry import tracing

__all__ = ["block_attention", "full_attention", "rotate"]


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021, arXiv:2104.09864): pairs (x_i, x_{i+K/2}) turned by position * 10000^(-2i/K).

    x [...,T,H,K] with K even; positions [T]. Angles are computed in float64.
    """
    return _turn(x, *_angles(positions, x.shape[-1], x.dtype))


def _angles(positions: Tensor, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """cos and sin of every position's angles, each twice: [T,1,K]."""
    half = width // 2
    rate = 10000.0 ** (-torch.arange(half, device=positions.device, dtype=torch.float64) / half)
    angle = (positions[:, None].to(torch.float64) * rate).repeat(1, 2)[:, None]
    return angle.cos().to(dtype), angle.sin().to(dtype)


@lru_cache(maxsize=64)
def _kept_table(frames: int, width: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False), torch.no_grad():  # a tensor of inference mode could not be trained with later
        return _angles(torch.arange(frames, device=device), width, dtype)


def _table(frames: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The angles of positions 0..frames-1; a stream needs the same ones at every step, so they are kept."""
    if tracing():
        return _angles(torch.arange(frames, device=like.device), like.shape[-1], like.dtype)
    return _kept_table(frames, like.shape[-1], like.dtype, like.device)


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.addcmul(x * cos, torch.cat([-b, a], -1), sin)


def block_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    *,
    block: int,
    before: int,
    band: tuple[int, int] | None,
    rotary: bool,
) -> Tensor:
    """softmax(q k^T / sqrt(K)) v, each block of queries over its own slice of the keys.

    q [B,n*block,H,K]; k, v [B,before+n*block+after,H,K]: key i+before stands at query i; mask [B, as k], True = real.
    band (left, right): query i sees the keys from i-left to i+right; None: all keys of the slice, which reaches
    `before` keys back and ends where the block ends. Rotary positions count from the slice's start, so the angles
    stay small in a stream of any age. A query without any real key sees itself. -> [B,n*block,H,K]
    """
    n = q.shape[1] // block
    after = k.shape[1] - before - q.shape[1]
    width = before + block + after
    qs = q.unflatten(1, (n, block))  # [B,n,block,H,K]
    if n == 1:
        ks, vs, seen = k[:, None], v[:, None], mask[:, None]
    else:
        at = torch.arange(n, device=q.device)[:, None] * block + torch.arange(width, device=q.device)  # [n,width]
        ks, vs, seen = k[:, at], v[:, at], mask[:, at]  # [B,n,width,H,K], [B,n,width]
    i, j = torch.arange(block, device=q.device)[:, None] + before, torch.arange(width, device=q.device)
    if rotary:
        cos, sin = _table(width, q)
        qs, ks = _turn(qs, cos[before : before + block], sin[before : before + block]), _turn(ks, cos, sin)
    near = torch.ones_like(i + j, dtype=torch.bool) if band is None else (j >= i - band[0]) & (j <= i + band[1])
    allowed = near & seen[:, :, None, :] | (i == j)  # [B,n,block,width]
    return _attend(qs, ks, vs, allowed).flatten(1, 2)


def full_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, causal: bool, rotary: bool) -> Tensor:
    """softmax(q k^T / sqrt(K)) v over all frames. q, k, v [B,T,H,K]; mask [B,T] (None: all real) -> [B,T,H,K]."""
    if rotary:
        cos, sin = _table(q.shape[1], q)
        q, k = _turn(q, cos, sin), _turn(k, cos, sin)
    if causal or mask is None:  # causal: padding is to the right and nobody looks there
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2)
    itself = torch.eye(q.shape[1], device=q.device, dtype=torch.bool)
    return _attend(q[:, None], k[:, None], v[:, None], (mask[:, None, :] | itself)[:, None])[:, 0]


def _attend(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
    """Blocks as batch rows: q, k, v [B,n,T,H,K], allowed [B,n,T,S]."""
    batch, n = q.shape[:2]
    q, k, v = (x.flatten(0, 1).transpose(1, 2) for x in (q, k, v))
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed.flatten(0, 1)[:, None])
    return y.transpose(1, 2).unflatten(0, (batch, n))
