"""The delta rule chunk by chunk with PyTorch's own operators: for a GPU, for tracing, for gradients of gradients.

Inside a chunk the writes u_t depend on each other through a triangular system (the WY form, Yang et al. 2024,
arXiv:2406.06484; with decays arXiv:2412.06464), which is solved at once for the values and for the keys.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.ops._retention.chunk import CHUNK, chunked, since

__all__ = ["delta_rule"]


def delta_rule(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None, state: Tensor
) -> tuple[Tensor, Tensor]:
    """(1 + tril(beta k k^T decays)) u = beta (v - decays k S): all of a chunk's writes, then o = q S + (q k^T) u."""
    frames = q.shape[1]
    q, k, v, beta, log_decay = chunked(q, k, v, beta, torch.zeros_like(beta) if log_decay is None else log_decay)
    between, from_begin, to_end = since(log_decay)
    keys = beta[..., None] * k
    system = (keys @ k.transpose(-1, -2) * between).tril(-1)  # its diagonal is read as 1
    one = torch.eye(CHUNK, dtype=q.dtype, device=q.device).expand_as(system)
    solved = torch.linalg.solve_triangular(system, one, upper=False, unitriangular=True)
    writes, erased = solved @ (beta[..., None] * v), solved @ (keys * from_begin[..., None])
    scores, reads, kept = q @ k.transpose(-1, -2) * between, q * from_begin[..., None], k * to_end[..., None]
    outputs, fade = [], from_begin[..., -1, None, None]
    # unbind, whose gradient is one stack: that of an index is as large as the whole, for every chunk
    for w, e, r, s, k, a in zip(*(t.unbind(2) for t in (writes, erased, reads, scores, kept, fade)), strict=True):
        u = w - e @ state  # [B,H,C,V]
        outputs.append(r @ state + s @ u)
        state = a * state + k.transpose(-1, -2) @ u
    return torch.stack(outputs, 2).movedim(1, 3).flatten(1, 2)[:, :frames], state
