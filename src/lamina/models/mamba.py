"""Mamba: Linear-Time Sequence Modeling with Selective State Spaces (Gu & Dao 2023); no feed-forward."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from lamina.core import Layer, Residual, Serial
from lamina.layers import RMSNorm
from lamina.models.model import Knob
from lamina.models.stack import PlainStack, build_mixer, dropout, row_of_mixer

__all__ = ["MAMBA"]


class MambaStack(PlainStack):
    """Mixers in residuals, each behind an RMS norm."""

    eps: float = Field(1e-6, gt=0, description="of the norms between the layers")


def build(config: Any) -> Layer:
    """x + mamba(norm(x)), n_layers times, and a norm: [B,T,d_model] -> [B,T,d_model]."""
    d_model, eps = config.d_model, config.eps
    blocks = [Residual(RMSNorm(d_model, eps), build_mixer(config), *dropout(config)) for _ in range(config.n_layers)]
    return Serial(*blocks, RMSNorm(d_model, eps))


MAMBA = row_of_mixer(
    "mamba",
    "mamba",
    MambaStack,
    build,
    (Knob("d_model", 2),),
    "u, z = W_in x,  u <- silu(conv(u)),  [d, B, C] = W_x u,  dt = softplus(W_dt d + b)\n"
    "h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t,  y_t = W_out (silu(z_t) * (C_t . h_t + D u_t))\n"
    "x <- x + mamba(norm(x))",
    "Gu & Dao 2023, arXiv:2312.00752",
)
