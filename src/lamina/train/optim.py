"""The optimizer of every training: AdamW, warm-up, then a cosine."""

from __future__ import annotations

from math import cos, pi

import torch
from torch import nn

__all__ = ["adamw", "learning_rate"]

WEIGHT_DECAY = 0.01
WARM_UP = 0.05  # of the steps


def adamw(module: nn.Module, lr: float, betas: tuple[float, float] = (0.9, 0.999)) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) that decays matrices only: no bias, no norm's gain, nothing that asks not to.

    A parameter asks by an attribute `no_weight_decay = True`. Fused: on a CPU a quarter of the time of a plain loop.
    """
    weights = [p for p in module.parameters() if p.requires_grad]
    plain = [p for p in weights if p.dim() < 2 or getattr(p, "no_weight_decay", False)]
    spared = {id(p) for p in plain}
    groups = [
        {"params": [p for p in weights if id(p) not in spared], "weight_decay": WEIGHT_DECAY},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=betas, fused=True)


def learning_rate(step: int, steps: int, lr: float) -> float:
    """The rate of step 0..steps-1: linear warm-up over the first 5 %, then a half cosine that reaches 0 at `steps`."""
    warm_up = max(1, round(steps * WARM_UP))
    if step < warm_up:
        return lr * (step + 1) / warm_up
    return lr * 0.5 * (1 + cos(pi * (step - warm_up) / max(1, steps - warm_up)))
