"""What every op checks and prepares alike: shapes, one dtype for the work. A stream pays for it at every frame."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["fits", "one_dtype", "working_dtype"]


def fits(op: str, *inputs: tuple[str, Tensor | None, str], sizes: dict[str, int] | None = None) -> dict[str, int]:
    """Checks tensors (name, tensor, "B T H K") against shapes in the project's letters and gives the letters' sizes.

    The first tensor with a letter sets it; `sizes` holds those already known. Another size is a ValueError.
    """
    sizes = {} if sizes is None else sizes
    for name, tensor, letters in inputs:
        if tensor is None:
            continue
        shape, wanted = tensor.shape, letters.split()
        good = len(shape) == len(wanted)
        for letter, size in zip(wanted, shape, strict=False):
            if sizes.setdefault(letter, size) != size:
                good = False
        if not good:
            known = ",".join(f"{letter}={sizes[letter]}" if letter in sizes else letter for letter in wanted)
            raise ValueError(f"{op}: {name} of shape {list(shape)} does not fit [{known}]")
    return sizes


def working_dtype(*tensors: Tensor | None) -> torch.dtype:
    """The widest dtype of the inputs and at least float32: a state must not round to bfloat16 at every frame."""
    dtype = torch.float32
    for tensor in tensors:
        if tensor is not None and tensor.dtype != dtype:
            dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def one_dtype(dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in that dtype; those that have it already are not copied."""
    return tuple([t if t.dtype == dtype else t.to(dtype) for t in tensors])
