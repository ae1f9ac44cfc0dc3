"""The recurrences as their definitions: one frame after another, in the dtype of the inputs.

W x + b, which needs no state, is one product for all frames, so that those weights are read once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["gru", "lstm", "rnn"]

States = tuple[Tensor, ...]


def lstm(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, state: States) -> tuple[Tensor, States]:
    """i, f, g, o = W x + b + U h;  c <- sigmoid(f) c + sigmoid(i) tanh(g);  h <- sigmoid(o) tanh(c)."""
    size = bias.shape[0] // 4
    w, u = weight.split([x.shape[-1], size])

    def cell(wx: Tensor, state: States) -> States:
        h, c = state
        gates = torch.addmm(wx, h.to(wx.dtype), u)
        i, f, _, o = gates.sigmoid().chunk(4, 1)
        c = torch.addcmul(f * c, i.to(c.dtype), gates[:, 2 * size : 3 * size].tanh().to(c.dtype))
        return o * c.tanh(), c

    return _scan(cell, F.linear(x, w.t(), bias), mask, state)


def gru(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, state: States) -> tuple[Tensor, States]:
    """r, z, n = W x + b and s = U h + b_s;  n = tanh(n + sigmoid(r) s_n);  h <- n + sigmoid(z) (h - n)."""
    size = bias.shape[0] // 4
    # split, not sliced: a slice's gradient is laid into a whole tensor of zeros
    w, u = weight.split([x.shape[-1], size])
    inner, outer = bias[: 3 * size], torch.cat([bias.new_zeros(2 * size), bias[3 * size :]])

    def cell(wx: Tensor, state: States) -> States:
        (h,) = state
        rz_x, n_x = wx.split([2 * size, size], 1)
        rz_h, n_h = torch.addmm(outer, h.to(wx.dtype), u).split([2 * size, size], 1)
        r, z = (rz_x + rz_h).sigmoid().chunk(2, 1)
        n = torch.addcmul(n_x, r, n_h).tanh()
        return (n + z * (h - n),)

    return _scan(cell, F.linear(x, w.t(), inner), mask, state)


def rnn(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, state: States) -> tuple[Tensor, States]:
    """h <- tanh(W x + b + U h)."""
    w, u = weight.split([x.shape[-1], bias.shape[0]])

    def cell(wx: Tensor, state: States) -> States:
        (h,) = state
        return (torch.addmm(wx, h.to(wx.dtype), u).tanh().to(h.dtype),)

    return _scan(cell, F.linear(x, w.t(), bias), mask, state)


def _scan(
    cell: Callable[[Tensor, States], States], x: Tensor, mask: Tensor | None, state: States
) -> tuple[Tensor, States]:
    """h at every frame, [B,T,H], and the last state; an absent frame leaves the state as it is."""
    outputs = []
    for t, x_t in enumerate(x.unbind(1)):
        new = cell(x_t, state)
        if mask is not None:
            real = mask[:, t, None]
            new = tuple(torch.where(real, after, before) for after, before in zip(new, state, strict=True))
        state = new
        outputs.append(state[0])
    y = torch.stack(outputs, 1) if outputs else x.new_zeros(x.shape[0], 0, state[0].shape[1])
    return y, tuple(s.clone() for s in state) if not outputs else state
