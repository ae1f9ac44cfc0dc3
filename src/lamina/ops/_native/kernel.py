"""Kernels: numba functions on raw memory, run by the threads that PyTorch already has.

PyTorch's own OpenMP runtime is asked to run a kernel. A second runtime, as numba's parallel loops would bring, fights
the first one's waiting threads for the cores and has its own idea of how many there are.
"""

from __future__ import annotations

import ctypes
import os
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import torch
from llvmlite import ir
from numba import cfunc, types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from lamina.ops._native import BYTES, WIDE
from lamina.ops._native.again import Launch, record

__all__ = ["Kernel", "arrays", "claim", "numbers", "real", "registers", "scratch", "whole"]

ENOUGH = 1 << 20  # operations, some 10 us: below it a second thread takes longer to wake than it saves
_OPENMP = ctypes.CDLL(None)  # libtorch brings libgomp's symbols into the process
_THREADS = {"usable": hasattr(_OPENMP, "GOMP_parallel")}
# a forked child has none of its parent's waiting threads, and OpenMP would wait for them for ever
os.register_at_fork(after_in_child=lambda: _THREADS.update(usable=False))
_KINDS = {torch.float32: types.float32, torch.float64: types.float64}


class Kernel:
    """A function of one argument, the call, from which it reads its tensors and numbers:

        @Kernel
        def double(call):
            (x,), (n,) = arrays(call, 1), numbers(call, 1, 1)
            i = claim(call)
            while i < n:
                x[i] *= 2
                i = claim(call)

        double([x], [len(x)], tasks=len(x), work=len(x))

    Each thread claims task after task until there is none: a thread that the machine holds up does fewer. Results must
    not depend on which thread does what. Compiled at the first call for a dtype, and kept on disk.
    """

    def __init__(self, body: Callable[[Any], None]) -> None:
        self.body = body
        self.compiled: dict[torch.dtype, Launch] = {}

    def __call__(self, tensors: Sequence[Tensor], numbers: Sequence[int], *, tasks: int, work: int) -> None:
        """Runs on as many threads as PyTorch has, `tasks` at most; on one where `work` (operations) is little.

        The tensors are on the CPU and of the first one's dtype, but for those that `whole` reads.
        """
        dtype = tensors[0].dtype
        run = self.compiled.get(dtype) or self._compile(dtype)
        call = array("q", [0, *[t.data_ptr() for t in tensors], *numbers])
        record(run, call, tensors, tasks, work)
        run(call, tasks, work)

    def _compile(self, dtype: torch.dtype) -> Launch:
        kind = types.void(types.CPointer(_KINDS[dtype]))
        try:
            made = cfunc(kind, cache=True, error_model="numpy")(self.body)
        except RuntimeError:  # numba finds no folder it may write to: compiled for this process alone
            made = cfunc(kind, error_model="numpy")(self.body)
        function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(made.address)

        def launch(call: array[int], tasks: int, work: int) -> None:
            address = call.buffer_info()[0]
            threads = min(torch.get_num_threads(), tasks) if work > ENOUGH and _THREADS["usable"] else 1
            if threads > 1:
                _OPENMP.GOMP_parallel(function, ctypes.c_void_p(address), threads, 0)
            else:
                function(address)

        self.compiled[dtype] = launch
        return launch


@intrinsic
def claim(typing: Any, call: Any) -> Any:
    """The number of the next task that no thread has done yet, from 0."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one = ir.Constant(ir.IntType(64), 1)
        return builder.atomic_rmw("add", _words(builder, arguments[0]), one, "monotonic")

    return types.int64(call), emit


@intrinsic(prefer_literal=True)
def numbers(typing: Any, call: Any, first: Any, count: Any) -> Any:
    """`count` of the call's arguments from that place on, as whole numbers; both are constants."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = [_word(builder, arguments[0], first.literal_value + i) for i in range(count.literal_value)]
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(types.int64, count.literal_value)(call, first, count), emit


@intrinsic(prefer_literal=True)
def real(typing: Any, call: Any, place: Any) -> Any:
    """The call's argument at that place, a constant, as the float64 that `bits` made it of."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(_word(builder, arguments[0], place.literal_value), ir.DoubleType())

    return types.float64(call, place), emit


@intrinsic(prefer_literal=True)
def whole(typing: Any, call: Any, place: Any) -> Any:
    """The call's argument at that place, a constant: the address of int64 numbers, as a flat array."""
    kind = types.Array(types.int64, 1, "C")

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = _word(builder, arguments[0], place.literal_value)
        return _flat(context, builder, kind, builder.inttoptr(word, ir.IntType(64).as_pointer()))

    return kind(call, place), emit


@intrinsic(prefer_literal=True)
def arrays(typing: Any, call: Any, count: Any) -> Any:
    """The call's first `count` arguments, a constant, as flat arrays."""
    kind = types.Array(call.dtype, 1, "C")

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = context.get_data_type(kind.dtype).as_pointer()
        words = [_word(builder, arguments[0], i) for i in range(count.literal_value)]
        found = [_flat(context, builder, kind, builder.inttoptr(word, pointer)) for word in words]
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(kind, count.literal_value)(call, count), emit


@intrinsic(prefer_literal=True)
def registers(typing: Any, call: Any, count: Any) -> Any:
    """`count` arrays of WIDE vectors on the stack: where loops over them have constant bounds, they are registers."""
    kind = types.Array(call.dtype, 1, "C")

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        size = ir.Constant(ir.IntType(64), WIDE * BYTES * 8 // kind.dtype.bitwidth)
        found = []
        for _ in range(count.literal_value):
            data = cgutils.alloca_once(builder, context.get_data_type(kind.dtype), size)
            data.align = BYTES
            found.append(_flat(context, builder, kind, data))
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(kind, count.literal_value)(call, count), emit


@intrinsic
def scratch(typing: Any, call: Any, count: Any) -> Any:
    """An array of `count` numbers on the stack, for one call of the kernel, and not in a loop: the stack would grow.

    Whoever calls the kernel asks `beyond_stack` first. An array of numpy's counts its references at each call it is
    handed to, and keeps vectors out of registers there.
    """
    kind = types.Array(call.dtype, 1, "C")

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = builder.alloca(context.get_data_type(kind.dtype), arguments[1])
        data.align = BYTES
        return _flat(context, builder, kind, data)

    return kind(call, types.intp), emit


def _words(builder: Any, call: Any) -> Any:
    return builder.bitcast(call, ir.IntType(64).as_pointer())


def _word(builder: Any, call: Any, index: int) -> Any:
    """An argument; in front of them stands the number of the next task."""
    return builder.load(builder.gep(_words(builder, call), [ir.Constant(ir.IntType(64), 1 + index)]))


def _flat(context: Any, builder: Any, kind: Any, data: Any) -> Any:
    """A flat array over that memory, of no stated end: kernels know their sizes."""
    found = context.make_array(kind)(context, builder)
    size, item = (ir.Constant(ir.IntType(64), n) for n in (1 << 60, kind.dtype.bitwidth // 8))
    context.populate_array(
        found, data=data, shape=cgutils.pack_array(builder, [size]), strides=cgutils.pack_array(builder, [item]),
        itemsize=item, meminfo=None,
    )  # fmt: skip
    return found._getvalue()
