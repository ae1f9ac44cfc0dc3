"""State spaces: Mamba, whose step size, input and output depend on the frame, and its time-invariant twin."""

from __future__ import annotations

from math import ceil, log
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina import ops
from lamina.core import Seq, State
from lamina.core.layer import state_dtype
from lamina.layers.one_run import OneRun
from lamina.layers.projection import Projection
from lamina.layers.short_conv import ShortConv, convolved

__all__ = ["Mamba", "rate", "step_bias"]

DT_MIN, DT_MAX = 1e-3, 1e-1  # step sizes at the start, spread evenly on a log scale


class Mamba(OneRun):
    """The selective state space (Gu & Dao 2023, arXiv:2312.00752).

        u, z = W_in x,    u <- silu(conv(u)),    [d, B, C] = W_x u,    dt = softplus(W_dt d + b)
        h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t,    y_t = W_out (silu(z_t) * (C_t . h_t + D u_t)),    A = -exp(A_log)

    for each of C = expand * D channels with a state of N numbers. [B,T,D] -> [B,T,D]; state {"h": [B,C,N], "conv":
    {"x": [B,short_conv-1,C]}}, float32 or wider: expand * D * (N + short_conv - 1) * 4 bytes a stream, whatever its
    age. Absent frames leave the state unchanged.

    selective=False is the time-invariant ablation: dt, B and C are weights, not functions of the frame. short_conv=0
    goes without the convolution. Weights are named and shaped as in the authors' checkpoints; A_log and D are marked
    `no_weight_decay`.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        expand: int = 2,
        short_conv: int = 4,
        selective: bool = True,
        dt_rank: int | None = None,
    ) -> None:
        super().__init__()
        if min(d_state, expand, dt_rank or 1) < 1:
            raise ValueError(f"Mamba: d_state={d_state}, expand={expand} and dt_rank={dt_rank} must be at least 1")
        self.d_in = self.d_out = d_model
        self.d_inner, self.d_state, self.selective = expand * d_model, d_state, selective
        self.dt_rank = dt_rank or ceil(d_model / 16)
        self.in_proj = Projection(d_model, 2 * self.d_inner, bias=False)
        self.conv1d = ShortConv(self.d_inner, short_conv) if short_conv else None
        bias = step_bias(self.d_inner)
        if selective:
            self.x_proj = Projection(self.d_inner, self.dt_rank + 2 * d_state, bias=False)
            self.dt_proj = Projection(self.dt_rank, self.d_inner)
            nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
            self.dt_proj.bias = nn.Parameter(bias)
        else:
            self.dt_bias = nn.Parameter(bias)
            self.B, self.C = nn.Parameter(torch.randn(d_state)), nn.Parameter(torch.randn(d_state))
        self.A_log = nn.Parameter(torch.arange(1.0, d_state + 1).log().repeat(self.d_inner, 1))
        self.D = nn.Parameter(torch.ones(self.d_inner))
        for weight in (self.A_log, self.D):
            weight.no_weight_decay = True  # type: ignore[attr-defined]
        self.out_proj = Projection(self.d_inner, d_model, bias=False)

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        like = self.like(like)
        state: State = {"h": like.new_zeros(batch, self.d_inner, self.d_state, dtype=state_dtype(like))}
        if self.conv1d is not None:
            state["conv"] = self.conv1d.init_state(batch, like=like)
        return state

    def run(self, x: Seq, state: State | None) -> tuple[Tensor, State]:
        u, z = self.in_proj(x.zeroed()).chunk(2, -1)
        u, new = convolved(self.conv1d, x.with_values(u), state)
        u = F.silu(u)
        dt, B, C = self._choices(u)
        h = None
        if state is not None:
            h = cast(Tensor, state["h"])
            dt = dt if x.dense else torch.where(x.mask[..., None], dt, 0)  # an absent frame takes no time
        y, new["h"] = ops.selective_scan(u, dt, rate(self.A_log), B, C, self.D, h)
        return self.out_proj(ops.swiglu(z, y)), new

    def _choices(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """dt [B,T,C], B and C [B,T,N] of every frame."""
        if not self.selective:
            dt, frames = F.softplus(self.dt_bias), u.shape[:2]
            return dt.expand(*frames, -1), self.B.expand(*frames, -1), self.C.expand(*frames, -1)
        d, B, C = self.x_proj(u).split((self.dt_rank, self.d_state, self.d_state), -1)
        return F.softplus(self.dt_proj(d)), B, C


def rate(A_log: Tensor) -> Tensor:
    """-exp(A_log) in float32 or wider."""
    return -(A_log if A_log.dtype in (torch.float32, torch.float64) else A_log.float()).exp()


def step_bias(width: int) -> Tensor:
    """b with softplus(b) spread from DT_MIN to DT_MAX at random: b = dt + log(1 - exp(-dt))."""
    dt = torch.exp(torch.rand(width) * log(DT_MAX / DT_MIN) + log(DT_MIN))
    return dt + torch.log(-torch.expm1(-dt))
