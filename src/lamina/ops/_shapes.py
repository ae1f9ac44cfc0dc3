"""What every op checks and prepares alike: shapes, one dtype for the work. A stream pays for it at every frame."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.ops.registry import tracing

__all__ = ["Shapes", "one_dtype", "working_dtype"]

MANY = 4096  # calls of different shapes that are remembered


class Shapes:
    """The shapes that go together in an op's call, in the project's letters:

        SHAPES = Shapes("retention", "q: B T H K", "state: B H K V")
        sizes = SHAPES(q, state)

    gives the letters' sizes. The first tensor with a letter sets it; another size is a ValueError; None fits.
    """

    def __init__(self, op: str, *tensors: str) -> None:
        self.op = op
        self.tensors = [(name, letters.split()) for name, _, letters in (t.partition(": ") for t in tensors)]
        self.known: dict[tuple[torch.Size | None, ...], dict[str, int]] = {}

    def __call__(self, *tensors: Tensor | None) -> dict[str, int]:
        shapes = tuple([None if t is None else t.shape for t in tensors])
        if tracing():  # sizes may be symbols
            return self._read(shapes)
        sizes = self.known.get(shapes)
        if sizes is None:
            if len(self.known) >= MANY:
                self.known.clear()
            sizes = self.known[shapes] = self._read(shapes)
        return sizes

    def _read(self, shapes: tuple[torch.Size | None, ...]) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for shape, (name, letters) in zip(shapes, self.tensors, strict=True):
            if shape is None:
                continue
            good = len(shape) == len(letters)
            for letter, size in zip(letters, shape, strict=False):
                if sizes.setdefault(letter, size) != size:
                    good = False
            if not good:
                known = ",".join(f"{letter}={sizes[letter]}" if letter in sizes else letter for letter in letters)
                raise ValueError(f"{self.op}: {name} of shape {list(shape)} does not fit [{known}]")
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
