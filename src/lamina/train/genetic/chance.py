"""Chances: settings that lie between 0 and 1, and drawing a few of many with the same chance each."""

from __future__ import annotations

from math import log1p, sqrt

import torch
from torch import Generator, Tensor

from lamina.core.config import UserError

__all__ = ["chance", "drawn"]


def chance(where: str, **settings: float) -> None:
    """Refuses settings that are no chances, by name."""
    for name, value in settings.items():
        if not 0 <= value <= 1:
            raise UserError(f"{where}: {name}={value:g} must lie between 0 and 1")


def drawn(n: int, rate: float, generator: Generator) -> Tensor:
    """Places of 0..n-1, each drawn with chance `rate` on its own, ascending, int64.

    Not n numbers are drawn but the gaps, which are geometric: 1 + floor(ln u / ln(1 - rate)). So the work is that of
    what is drawn.
    """
    if rate <= 0 or n < 1:
        return torch.empty(0, dtype=torch.int64)
    if rate >= 1:
        return torch.arange(n)
    scale, last, parts = 1 / log1p(-rate), -1, []
    while last < n:
        left = n - last
        several = int(left * rate + 5 * sqrt(left * rate) + 8)  # hardly ever too few, and then there is a next round
        u = torch.rand(several, generator=generator, dtype=torch.float64)
        # ln(1 - u), as likely as ln u; PyTorch's log of float64 wakes threads, which a busy machine pays dearly
        gaps = u.neg_().log1p_().mul_(scale).clamp_(max=n).long()
        parts.append(gaps.add_(1).cumsum_(0).add_(last))
        last = int(parts[-1][-1])
    places = parts[0] if len(parts) == 1 else torch.cat(parts)
    return places[: int(torch.searchsorted(places, n))]
