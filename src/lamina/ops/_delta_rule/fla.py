"""The delta rule on a GPU through flash-linear-attention's kernels: where it is installed, under autocast."""

from __future__ import annotations

from torch import Tensor

from lamina.ops._retention.fla import half

__all__ = ["delta_rule"]


def delta_rule(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None, state: Tensor
) -> tuple[Tensor, Tensor]:
    """With and without a decay they have two functions."""
    from fla.ops.delta_rule import chunk_delta_rule
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule

    q, k, v, beta = half(q, k, v, beta)
    if log_decay is None:
        return chunk_delta_rule(q, k, v, beta, scale=1.0, initial_state=state, output_final_state=True)
    return chunk_gated_delta_rule(
        q, k, v, log_decay.contiguous(), beta, scale=1.0, initial_state=state, output_final_state=True
    )
