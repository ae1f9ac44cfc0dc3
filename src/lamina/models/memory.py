"""Stacks over a matrix memory: linear attention (2020), RetNet (2023), gated retention (2024), DeltaNet (2024)."""

from __future__ import annotations

from lamina.models.model import Knob, Model
from lamina.models.stack import GluStack, glu_stack, row_of_mixer

__all__ = ["DELTANET", "GATED_RETENTION", "LINEAR_ATTENTION", "RETNET"]

_BLOCK = "x <- x + mixer(norm(x)),  x <- x + W_o (silu(W_g norm(x)) * W_v norm(x))"


def _row(name: str, mixer: str, equations: str, *references: str) -> Model:
    knobs = Knob("d_model", 8, 8), Knob("d_ff", 8)
    return row_of_mixer(name, mixer, GluStack, glu_stack, knobs, f"{equations}\n{_BLOCK}", *references)


RETNET = _row(
    "retnet",
    "retention",
    "S_t = a S_{t-1} + k_t v_t^T,  o_t = S_t^T q_t,  a = 1 - 2^(-5-h)\n"
    "mixer(x)_t = W_o (silu(W_g x_t) * norm(o_t)),  q, k turned by their positions",
    "Sun et al. 2023, arXiv:2307.08621",
    "Shazeer 2020, arXiv:2002.05202 (the feed-forward)",
)

GATED_RETENTION = _row(
    "gated_retention",
    "gated_retention",
    "S_t = a_t S_{t-1} + k_t v_t^T,  o_t = S_t^T q_t,  a_t = sigmoid(W_a x_t)^(1/16)\n"
    "mixer(x)_t = W_o (silu(W_g x_t) * norm(o_t)),  q, k turned by their positions",
    "Sun et al. 2024, arXiv:2405.05254",
)

DELTANET = _row(
    "deltanet",
    "deltanet",
    "S_t = S_{t-1} + b_t k_t (v_t - S_{t-1}^T k_t)^T,  o_t = S_t^T q_t,  b_t = sigmoid(W_b x_t)\n"
    "mixer(x)_t = W_o norm(o_t),  q, k = silu(W x) / |silu(W x)|,  v = silu(W_v x)",
    "Schlag, Irie & Schmidhuber 2021, arXiv:2102.11174",
    "Yang et al. 2024, arXiv:2406.06484",
    "Yang, Kautz & Hatamizadeh 2024, arXiv:2412.06464 (gated, mixer=gated_deltanet)",
    "Grazzi et al. 2024, arXiv:2411.12537 (beta_max=2)",
)

LINEAR_ATTENTION = _row(
    "linear_attention",
    "linear_attention",
    "S_t = S_{t-1} + f(k_t) v_t^T,  z_t = z_{t-1} + f(k_t),  f(x) = elu(x) + 1\n"
    "mixer(x)_t = W_o (S_t^T f(q_t)) / (z_t . f(q_t))",
    "Katharopoulos et al. 2020, arXiv:2006.16236",
)
