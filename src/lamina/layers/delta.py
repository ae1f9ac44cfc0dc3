"""DeltaNet: a linear memory that corrects what a key held before it writes, and its gated form."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina import ops
from lamina.core import Seq, State
from lamina.layers.memory import MatrixMemory
from lamina.layers.ssm import rate, step_bias

__all__ = ["DeltaNet"]


class DeltaNet(MatrixMemory):
    """The delta rule as a layer (Schlag et al. 2021, arXiv:2102.11174; Yang et al. 2024, arXiv:2406.06484).

        q, k = unit(silu(W_q x)), unit(silu(W_k x)),    v = silu(W_v x),    b = beta_max * sigmoid(W_b x)
        S_t = S_{t-1} + b_t k_t (v_t - S_{t-1}^T k_t)^T,    o_t = S_t^T q_t,    y_t = W_o norm(o_t)

    gated (Yang et al. 2024, arXiv:2412.06464): S_{t-1} fades by exp(-A softplus(W_a x_t + c)) first, a number a head,
    and norm(o_t) is multiplied by silu(W_g x_t). norm is RMS over each head, with one weight a channel of it.

    [B,T,D] -> [B,T,D]; state {"S": [B,H,K,V], with short_conv also {"conv": ...}}, float32 or wider, K = d_head,
    by default D/H, V = value_factor * K: H*K*V * 4 bytes a stream, whatever its age. Absent frames leave it unchanged.
    beta_max=2 lets an eigenvalue of the transition be negative, which tracking a parity needs (Grazzi et al. 2024,
    arXiv:2411.12537). short_conv: taps of a convolution over q, k and v before the silu, 0 for none; the paper has 4.
    soft: what stands beside the square of a length, unit(x) = x / sqrt(x . x + soft); fla and transformers have 1e-6.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int = 4,
        value_factor: int = 1,
        short_conv: int = 0,
        gated: bool = False,
        beta_max: float = 1.0,
        eps: float = 1e-5,
        d_head: int | None = None,
        soft: float = 0.0,
    ) -> None:
        if not 0 < beta_max <= 2:
            raise ValueError(f"DeltaNet: beta_max={beta_max} must lie in 0..2, beyond which the memory grows")
        gate = value_factor * (d_head * n_heads if d_head else d_model)
        others = (n_heads, n_heads, gate) if gated else (n_heads,)  # beta, the decay, the gate
        super().__init__(d_model, n_heads, value_factor, short_conv, *others, d_head=d_head)
        self.gated, self.beta_max, self.eps, self.soft = gated, beta_max, eps, soft
        self.norm = nn.Parameter(torch.ones(self.d_value // n_heads))
        if gated:
            self.A_log = nn.Parameter(torch.empty(n_heads).uniform_(1, 16).log())
            self.dt_bias = nn.Parameter(step_bias(n_heads))
            self.A_log.no_weight_decay = True  # type: ignore[attr-defined]

    def mix(
        self, x: Seq, qk: Tensor, v: Tensor, others: tuple[Tensor, ...], state: State | None
    ) -> tuple[Tensor, State]:
        q, k = unit(F.silu(qk), self.soft).chunk(2, 2)
        beta = others[0].sigmoid() * self.beta_max
        log_decay = rate(self.A_log) * F.softplus(others[1] + self.dt_bias) if self.gated else None
        S = None if state is None else cast(Tensor, state["S"])
        if S is not None and not x.dense:  # an absent frame writes nothing and lets nothing fade
            real = x.mask[..., None]
            beta, log_decay = torch.where(real, beta, 0), None if log_decay is None else torch.where(real, log_decay, 0)
        o, S = ops.delta_rule(q, k, F.silu(v), beta, log_decay, S)
        # o is not scaled by K^(-1/2): the norm takes any scale out again, and eps * K is what the scale leaves there
        gate = others[2].view(o.shape) if self.gated else None
        return ops.rms_norm(o, self.norm, gate, self.eps * self.d_head).flatten(2), {"S": S}


def unit(x: Tensor, soft: float) -> Tensor:
    """x / sqrt(x . x + soft); for 0 a length below 1e-6 counts as 1e-6."""
    if not soft:
        return F.normalize(x, dim=-1, eps=1e-6)
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)  # quicker than a sum of squares
    return x * (length * length + soft).rsqrt()
