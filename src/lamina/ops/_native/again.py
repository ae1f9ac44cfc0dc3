"""The same call again: a stream calls an op with the same shapes at every frame, and only the addresses are new.

Checks, choice and layout cost Python more than the kernel takes. What they come to hangs on shapes, strides and dtypes
alone; so it is kept from the first call, where it was one kernel that reads nothing but the op's inputs, writes nothing
but its outputs, and writes all of them.
"""

from __future__ import annotations

import functools
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from lamina.ops.registry import captures, forced, tracing

__all__ = ["again", "capture", "forget", "record"]

MANY = 4096  # calls of different shapes that are remembered
CPU = torch.device("cpu")

F = TypeVar("F", bound=Callable[..., Any])
Launch = Callable[["array[int]", int, int], None]
_memories: list[dict[tuple[Any, ...], Any]] = []  # each op's
_thread = threading.local()  # .seen: the kernels of the call that is being watched


def record(launch: Launch, call: array[int], tensors: list[Tensor], tasks: int, work: int) -> None:
    """A kernel tells that it runs: where an op is watched, that is kept."""
    seen, told = getattr(_thread, "seen", None), getattr(captures, "told", None)
    if seen is not None:
        seen.append((launch, call[:], tensors, tasks, work))
    if told is not None:
        told(launch, call[:], tensors, tasks, work)


@contextmanager
def capture(told: Callable[[Launch, array[int], list[Tensor], int, int], None]) -> Iterator[None]:
    """Inside the block, on this thread, `told` hears of every kernel that runs."""
    captures.told = told
    try:
        yield
    finally:
        captures.told = None


def again(op: F) -> F:
    """The op, quick from the second call with the same shapes on; only where no gradient is wanted."""
    known: dict[tuple[Any, ...], _Call | None] = {}
    _memories.append(known)

    @functools.wraps(op)
    def _run(*given: Any, **settings: Any) -> Any:
        if (
            tracing()
            or torch.is_grad_enabled()
            or torch._C._len_torch_dispatch_stack()
            or torch.is_autocast_enabled("cpu")
        ):
            return op(*given, **settings)
        inputs = (*given, *settings.values()) if settings else given
        form = [(i.shape, i.stride(), i.dtype, i.is_cpu) if isinstance(i, Tensor) else i for i in inputs]
        key = (forced(), *settings, *form)
        try:
            call = known[key]
        except KeyError:
            if len(known) >= MANY:
                known.clear()
            outputs, known[key] = _watched_call(op, given, settings, inputs)
            return outputs
        return op(*given, **settings) if call is None else call(inputs)

    return cast(F, _run)


def forget() -> None:
    """Every op finds its way anew: for those who watch how."""
    for known in _memories:
        known.clear()


class _Call:
    """One kernel's call, in which the addresses of the inputs and outputs are still missing."""

    def __init__(self, launch: Launch, call: array[int], tasks: int, work: int) -> None:
        self.launch, self.call, self.tasks, self.work = launch, call, tasks, work
        self.inputs: list[tuple[int, int]] = []  # (place in the call, which one)
        self.outputs: list[tuple[int, int]] = []
        self.made: list[tuple[torch.Size, torch.dtype]] = []
        self.single = False

    def __call__(self, inputs: tuple[Any, ...]) -> Any:
        call = self.call[:]
        for place, i in self.inputs:
            call[place] = inputs[i].data_ptr()
        outputs = tuple([torch.empty(shape, dtype=dtype, device=CPU) for shape, dtype in self.made])
        for place, i in self.outputs:
            call[place] = outputs[i].data_ptr()
        self.launch(call, self.tasks, self.work)
        return outputs[0] if self.single else outputs


def _watched_call(
    op: Callable[..., Any], given: tuple[Any, ...], settings: dict[str, Any], inputs: tuple[Any, ...]
) -> tuple[Any, _Call | None]:
    """The op's outputs, and what to do at the next such call; None where that cannot be said."""
    outer, _thread.seen = getattr(_thread, "seen", None), []
    try:
        outputs = op(*given, **settings)
        seen = _thread.seen
    finally:
        _thread.seen = outer
    if len(seen) != 1:
        return outputs, None
    launch, call, tensors, tasks, work = seen[0]
    found, made = _Call(launch, call, tasks, work), outputs if isinstance(outputs, tuple) else (outputs,)
    found.single = made is not outputs
    at = {t.data_ptr(): i for i, t in enumerate(inputs) if isinstance(t, Tensor)}
    if len(at) != sum(isinstance(t, Tensor) for t in inputs):
        return outputs, None  # two inputs at one address: which of them does the kernel read?
    if not all(t.is_contiguous() and any(t is written for written in tensors) for t in made):
        return outputs, None
    found.made = [(t.shape, t.dtype) for t in made]
    for place, tensor in enumerate(tensors, 1):
        out = next((i for i, t in enumerate(made) if t is tensor), None)
        if out is not None:
            found.outputs.append((place, out))
        elif tensor.data_ptr() in at:
            found.inputs.append((place, at[tensor.data_ptr()]))
        else:
            return outputs, None  # a copy of an input, or a place that the op keeps for itself
    return outputs, found
