"""The recurrences as their definitions: one frame after another, in the dtype of the inputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["gru", "lstm", "rnn"]

States = tuple[Tensor, ...]


def lstm(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, state: States) -> tuple[Tensor, States]:
    """i, f, g, o = W [x; h] + b;  c <- sigmoid(f) c + sigmoid(i) tanh(g);  h <- sigmoid(o) tanh(c)."""
    size = bias.shape[0] // 4

    def cell(x_t: Tensor, state: States) -> States:
        h, c = state
        gates = torch.addmm(bias, torch.cat([x_t, h.to(x_t.dtype)], 1), weight)
        i, f, _, o = gates.sigmoid().chunk(4, 1)
        c = torch.addcmul(f * c, i.to(c.dtype), gates[:, 2 * size : 3 * size].tanh().to(c.dtype))
        return o * c.tanh(), c

    return _scan(cell, x, mask, state)


def gru(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, state: States) -> tuple[Tensor, States]:
    """r, z, n = W x + b and s = U h + b_s;  n = tanh(n + sigmoid(r) s_n);  h <- n + sigmoid(z) (h - n)."""
    size, d_in = bias.shape[0] // 4, x.shape[-1]
    # split, not sliced: a slice's gradient is laid into a whole tensor of zeros
    w_x, w_h = weight.split([d_in, size])
    inner, outer = bias[: 3 * size], torch.cat([bias.new_zeros(2 * size), bias[3 * size :]])

    def cell(x_t: Tensor, state: States) -> States:
        (h,) = state
        rz_x, n_x = torch.addmm(inner, x_t, w_x).split([2 * size, size], 1)
        rz_h, n_h = torch.addmm(outer, h.to(x_t.dtype), w_h).split([2 * size, size], 1)
        r, z = (rz_x + rz_h).sigmoid().chunk(2, 1)
        n = torch.addcmul(n_x, r, n_h).tanh()
        return (n + z * (h - n),)

    return _scan(cell, x, mask, state)


def rnn(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, state: States) -> tuple[Tensor, States]:
    """h <- tanh(W [x; h] + b)."""

    def cell(x_t: Tensor, state: States) -> States:
        (h,) = state
        return (torch.addmm(bias, torch.cat([x_t, h.to(x_t.dtype)], 1), weight).tanh().to(h.dtype),)

    return _scan(cell, x, mask, state)


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
