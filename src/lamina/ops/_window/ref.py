"""Attention to a cache that is written over, as its definition, in the dtype of the inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.ops._attention import attention

__all__ = ["window_rows"]


def window_rows(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor, keys: Tensor, values: Tensor, rows: Tensor) -> Tensor:
    """The rows' cache and the new frames are attended to, and the last n of them are the new cache."""
    n = keys.shape[1]
    k, v = torch.cat([keys[rows], k], 1), torch.cat([values[rows], v], 1)
    y = attention(q, k, v, allowed, before=n, left=n, right=0)
    keys[rows], values[rows] = k[:, q.shape[1] :], v[:, q.shape[1] :]
    return y
