"""The selective scan in two levels, with PyTorch's own operators: for a GPU, for tracing, for gradients of gradients.

The frames are cut into chunks of about sqrt(T). Inside, all chunks advance at once, each from zero; then the state
goes from chunk to chunk; then what it adds to each frame is the product of the decays up to there.
"""

from __future__ import annotations

from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["selective_scan"]


def selective_scan(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """h <- exp(dt_t A) h + dt_t B_t x_t,    y_t = C_t . h + D x_t."""
    frames = x.shape[1]
    if not frames:
        return x.new_zeros(x.shape), state.clone()
    chunk = max(1, isqrt(frames))
    behind = -frames % chunk  # frames of dt = 0 change nothing
    u, dt, b, c = (F.pad(t, (0, 0, 0, behind)).unflatten(1, (-1, chunk)) for t in (dt * x, dt, B, C))
    decay = (dt[..., None] * A).exp()  # [B,n,chunk,C,N]
    write = u[..., None] * b[:, :, :, None, :]
    h, p = write[:, :, 0], decay[:, :, 0]
    inside, since = [h], [p]
    for t in range(1, chunk):
        h, p = decay[:, :, t] * h + write[:, :, t], decay[:, :, t] * p
        inside.append(h)
        since.append(p)
    begins = [state]
    for n in range(h.shape[1]):
        begins.append(p[:, n] * begins[-1] + h[:, n])
    entering = torch.stack(begins[:-1], 1)[:, :, None]  # [B,n,1,C,N]
    states = torch.stack(inside, 2) + torch.stack(since, 2) * entering
    y = (states @ c[..., None]).squeeze(-1).flatten(1, 2)[:, :frames]
    return y + D * x, begins[-1]
