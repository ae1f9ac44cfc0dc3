"""A cache of the last frames, as every attention keeps one."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["behind"]


def behind(past: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The cached frames and the new ones in x's dtype, and the cache behind them: attend first, forget after.

    past [B,n,*], x [B,T,*] -> [B,n+T,*] and [B,n,*] in past's dtype.
    """
    window = torch.cat([past, x.to(past.dtype)], 1)
    kept = window[:, x.shape[1] :]
    # behind a single frame the rest is a view: a long cache need not be copied twice at every step
    return window.to(x.dtype), kept if x.shape[1] == 1 else kept.clone()
