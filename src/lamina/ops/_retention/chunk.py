"""Retention chunk by chunk with PyTorch's own operators: for a GPU, for tracing, for gradients of gradients."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["chunked", "retention", "since"]

CHUNK = 32


def chunked(*tensors: Tensor) -> tuple[Tensor, ...]:
    """[B,T,H,...] cut into chunks, [B,H,n,C,...]; frames of zeros fill the last one."""
    behind = -tensors[0].shape[1] % CHUNK
    padded = (F.pad(t, (0, 0) * (t.dim() - 2) + (0, behind)) for t in tensors)
    return tuple(t.unflatten(1, (-1, CHUNK)).movedim(3, 1) for t in padded)


def since(log_decay: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What is left of a state: of frame s at frame t, of the chunk's begin at frame t, of frame s at the chunk's end.

    log_decay [B,H,n,C] -> [B,H,n,C,C], [B,H,n,C], [B,H,n,C]. Differences of sums, so that nothing is divided by a
    decay that may be 0; in float64, since their rounding becomes the decays' relative error.
    """
    sums = log_decay.double().clamp(min=-1e4).cumsum(-1)  # e^-10000 is 0 as e^-inf is, without inf - inf
    seen = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=sums.device).tril()
    between = (sums[..., :, None] - sums[..., None, :]).masked_fill(~seen, -torch.inf).exp()
    dtype = log_decay.dtype
    return between.to(dtype), sums.exp().to(dtype), (sums[..., -1:] - sums).exp().to(dtype)


def retention(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Inside a chunk o = (q k^T * decays) v; what came before it enters through the state at its begin."""
    frames = q.shape[1]
    q, k, v, log_decay = chunked(q, k, v, log_decay)
    between, from_begin, to_end = since(log_decay)
    inside = (q @ k.transpose(-1, -2) * between) @ v  # [B,H,n,C,V]
    writes = (k * to_end[..., None]).transpose(-1, -2) @ v  # [B,H,n,K,V]
    begins = []
    # unbind, whose gradient is one stack: that of an index is as large as the whole, for every chunk
    for fade, write in zip(from_begin[..., -1, None, None].unbind(2), writes.unbind(2), strict=True):
        begins.append(state)
        state = fade * state + write
    before = (q * from_begin[..., None]) @ torch.stack(begins, 2)
    return (inside + before).movedim(1, 3).flatten(1, 2)[:, :frames], state
