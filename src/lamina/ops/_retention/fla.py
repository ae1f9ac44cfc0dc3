"""Retention on a GPU through flash-linear-attention's kernels, where it is installed."""

from __future__ import annotations

import importlib.util

from torch import Tensor

__all__ = ["refuses", "retention"]


def refuses(first: Tensor, *_: Tensor | None) -> str | None:
    if first.device.type != "cuda":
        return "its kernels are for CUDA"
    if importlib.util.find_spec("fla") is None:
        return "not installed: pip install flash-linear-attention"
    return "there is nothing to do" if 0 in first.shape else None


def retention(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Decay a head and frame: simple gated linear attention is their name for it."""
    from fla.ops.simple_gla import chunk_simple_gla

    y, end = chunk_simple_gla(
        q, k, v, g=log_decay.contiguous(), scale=1.0, initial_state=state, output_final_state=True
    )
    return y, end
