"""A call captured once and replayed without its Python, as a CUDA graph is on a GPU.

A streamed frame calls a hundred small operators, and Python between them takes longer than they do. Which operators,
and on which memory, is the same at every frame; only the numbers are new. So one call is watched: PyTorch's operators
by a dispatch mode, our kernels where they are launched. A replay does the same work on the same memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from lamina.ops._native import again
from lamina.ops._native.again import Launch

__all__ = ["NotCaptured", "Replay"]

Part = Callable[[], object]
INDEXING = ("aten::index", "aten::index_put", "aten::index_put_")
EMPTY = ("aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty", "aten::new_empty_strided")
COPIES = ("aten::clone", "aten::_to_copy")
FILLED = ("ones", "zeros", "full", "ones_like", "zeros_like", "full_like", "new_ones", "new_zeros", "new_full")
READS = (Tensor.tolist, Tensor.numpy, Tensor.__array__, Tensor.__dlpack__)


class NotCaptured(RuntimeError):
    """A call that cannot be replayed; the text is the reason."""


class Replay:
    """What run() did, to be done again on the same memory: `replay()` makes `outputs` anew from what `inputs` hold.

    inputs: tensors whose numbers change from call to call; every other tensor that run reads must keep its own, weights
    too. Where one of the inputs is written over, a replay writes over it. No gradients. NotCaptured where what run does
    hangs on the numbers themselves, or where it reads memory in a way that cannot be watched.
    """

    def __init__(self, run: Callable[[], Sequence[Tensor]], inputs: Sequence[Tensor]) -> None:
        if any(not t.is_cpu for t in inputs):
            raise NotCaptured("it is for the CPU")
        if torch.is_autocast_enabled("cpu") or torch._C._len_torch_dispatch_stack() > 0:
            raise NotCaptured("autocast or another mode has its own say about operators")
        watch = _Watch(inputs)
        with torch.no_grad(), _Reads(watch), watch, again.capture(watch.launched):
            self.outputs = list(run())
        if watch.pointers:
            raise NotCaptured("it hands its memory to code that is no kernel of lamina")
        self.kept = watch.kept  # temporaries: a replay works where they lie
        self.moves = [_place(t) in watch.moving | watch.written for t in self.outputs]
        self.parts = watch.parts()

    def __call__(self) -> None:
        for part in self.parts:
            part()


class _Watch(TorchDispatchMode):
    """What is called, in order. moving: the memory whose numbers hang on the inputs; written: what is written over."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else every operator would go through torch._dynamo, which takes a second to import

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.moving, self.written = {_place(t) for t in inputs}, set[int]()
        self.kept: list[Any] = list(inputs)
        self.steps: list[tuple[Part, set[int] | None]] = []  # and the memory of its outputs where these are constants
        self.pointers = 0  # addresses that were asked for, less those that kernels had

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, about = kwargs or {}, _about(func)
        places = {_place(t) for t in _tensors((*args, *kwargs.values()))}
        moves = bool(places & self.moving) and not about.filled
        about.refuse(args, kwargs, moves)
        found = func(*args, **kwargs)
        outputs = _tensors((found,))
        made = {_place(t) for t in outputs}
        self.kept += outputs
        if about.turns:
            pass  # a view in place, of a tensor that nobody here holds
        elif about.mutable:
            self.steps.append((about.part(args, kwargs, None), None))
            self.moving |= made
            self.written |= made
        elif made <= places or about.empty:
            pass  # a view, or memory without numbers: it stays where it is
        elif moves:
            self.steps.append((about.part(args, kwargs, outputs), None))
            self.moving |= made
        else:  # constants; they are laid out again where somebody writes over them
            fixed = [_detached(t) for t in outputs if not t.is_mkldnn]
            self.steps += [(partial(t.copy_, t.clone()), {_place(t)}) for t in fixed]
        return found

    def launched(self, launch: Launch, call: array[int], tensors: list[Tensor], tasks: int, work: int) -> None:
        """A kernel of ours: which of its tensors it writes is not known, so that all are taken for written."""

        def again_() -> None:
            call[0] = 0  # its tasks are claimed anew
            launch(call, tasks, work)

        self.pointers -= len(tensors)
        self.kept.append(tensors)
        self.steps.append((again_, None))
        places = {_place(t) for t in tensors}
        self.moving |= places
        self.written |= places

    def parts(self) -> list[Part]:
        """What a replay does."""
        return [part for part, constant in self.steps if constant is None or constant & self.written]


class _Reads(TorchFunctionMode):
    """Sees what a dispatch mode does not: numbers that Python reads as a whole, and addresses."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READS and _place(args[0]) in self.watch.moving:
            raise NotCaptured(f"Python reads numbers of its input ({func.__name__})")
        if func is Tensor.data_ptr:
            self.watch.pointers += 1
        return func(*args, **(kwargs or {}))


def _place(tensor: Tensor) -> int:
    """Which memory a tensor lies in; all that were seen are kept, so that none is given to another."""
    return id(tensor) if tensor.is_mkldnn else cast(int, tensor.untyped_storage()._cdata)


def _tensors(given: Sequence[Any]) -> list[Tensor]:
    """The tensors among an operator's arguments, also in lists of them."""
    found = []
    for one in given:
        if isinstance(one, Tensor):
            found.append(one)
        elif isinstance(one, list | tuple):
            found += [t for t in one if isinstance(t, Tensor)]
    return found


def _detached(one: Any) -> Any:
    """The same memory without a wish for gradients: what writes into given memory takes no other."""
    if isinstance(one, Tensor):
        return one.detach()
    return [_detached(t) for t in one] if isinstance(one, list | tuple) else one


class _About:
    """What is to be known of an operator."""

    def __init__(self, func: Any) -> None:
        self.func, schema = func, func._schema
        self.mutable, self.empty = schema.is_mutable, schema.name in EMPTY
        self.turns = torch.Tag.inplace_view in func.tags
        self.filled = schema.name.removeprefix("aten::") in FILLED  # of the shape of its input, and no more
        self.names = [a.name for a in schema.arguments]
        self.draws = torch.Tag.nondeterministic_seeded in func.tags
        self.reads = torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags
        self.copies, self.indexes = schema.name in COPIES, schema.name in INDEXING
        # PyTorch's own binding of that name parses its arguments in half the time that the operator object takes
        name = schema.name.removeprefix("aten::")
        self.binding = getattr(torch._C._VariableFunctions, name, getattr(torch._C._nn, name, None))

    def refuse(self, args: Any, kwargs: Any, moves: bool) -> None:
        """NotCaptured where a replay could not do it; moves: whether its inputs move."""
        if not (self.draws or self.reads):
            return
        given = dict(zip(self.names, args, strict=False)) | kwargs
        if self.draws and ("dropout_p" not in self.names or given.get("dropout_p")):
            raise NotCaptured(f"{self.func} draws random numbers")
        places = self.indexes and all(t.dtype not in (torch.bool, torch.uint8) for t in _tensors([given["indices"]]))
        if self.reads and moves and not places:
            raise NotCaptured(f"what it does hangs on numbers of its input ({self.func})")

    def part(self, args: Any, kwargs: Any, outputs: list[Tensor] | None) -> Part:
        """The operator again, writing where its outputs lie, which hold what it gave just now."""
        args, kwargs = [_detached(a) for a in args], {name: _detached(a) for name, a in kwargs.items()}
        if outputs is None:
            return partial(self.func, *args, **kwargs)
        outputs = [_detached(t) for t in outputs]  # which a view in place does not turn
        if self.copies:
            return partial(outputs[0].copy_, args[0])
        call = partial(self.func, *args, **kwargs)
        if self.binding is not None and len(outputs) == 1:
            part = partial(self.binding, *args, **kwargs, out=outputs[0])
            if _runs(part):
                return part
            quick = partial(self.binding, *args, **kwargs)
            call = quick if _runs(quick) else call

        def copied() -> None:
            for old, new in zip(outputs, _tensors((call(),)), strict=True):
                old.copy_(new)

        return copied


_about = cache(_About)


def _runs(part: Part) -> bool:
    """Whether a binding takes such arguments: not every one takes out=."""
    try:
        part()
    except (TypeError, RuntimeError):
        return False
    return True
