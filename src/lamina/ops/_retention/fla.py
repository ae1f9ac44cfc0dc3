"""Retention on a GPU through flash-linear-attention's kernels: where it is installed, under autocast."""

from __future__ import annotations

import importlib.util
import re
from functools import cache

import torch
from torch import Tensor

__all__ = ["half", "refuses", "retention"]


def refuses(first: Tensor, *others: Tensor | None) -> str | None:
    if first.device.type != "cuda":
        return "its kernels are for CUDA"
    if importlib.util.find_spec("fla") is None:
        return "not installed: pip install flash-linear-attention"
    if not torch.is_autocast_enabled("cuda"):
        return "its kernels multiply in half precision, which torch.autocast allows"
    if 0 in first.shape:
        return "there is nothing to do"
    graph = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (first, *others))
    return _no_gradient(first.device.index or 0) if graph else None


@cache
def _no_gradient(device: int) -> str | None:
    """Its backward (fla-core 0.6) raises there where there is a decay, and without one reads memory not its own."""
    import triton  # type: ignore[import-not-found]

    version = tuple(int(part) for part in re.findall(r"\d+", triton.__version__)[:3])
    if torch.cuda.get_device_capability(device)[0] == 9 and (3, 4, 0) <= version < (3, 7, 1):
        return f"its gradients fail on this GPU with Triton {triton.__version__}: pip install 'triton>=3.7.1'"
    return None


def half(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in the dtype that autocast multiplies in."""
    dtype = torch.get_autocast_dtype("cuda")
    return tuple(t.to(dtype) for t in tensors)


def retention(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Decay a head and frame: simple gated linear attention is their name for it."""
    from fla.ops.simple_gla import chunk_simple_gla

    q, k, v = half(q, k, v)
    y, end = chunk_simple_gla(
        q, k, v, g=log_decay.contiguous(), scale=1.0, initial_state=state, output_final_state=True
    )
    return y, end
