"""The implementations of each op: which one runs, and why the others do not."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

__all__ = ["Impl", "Op", "captures", "forced", "hidden", "short", "tracing", "use"]

SHORT = 16

# LAMINA_IMPL is read once, at the import: a stream would pay for it at every frame
_names: set[str] = set()  # of every op's implementations
_IMPL = os.environ.get("LAMINA_IMPL", "auto")
_forced: ContextVar[str] = ContextVar("lamina_impl", default=_IMPL)
captures = threading.local()  # .told: who hears of every kernel while a call is captured for a replay


@dataclass(frozen=True)
class Impl:
    """One implementation. refuses(inputs...) gives the reason why it cannot take this call, or None.

    yields: the reason why another is quicker; asked by name, it takes the call all the same.
    traces: it is made of PyTorch's own operators, so that export, compile and torch.func can look inside.
    """

    name: str
    run: Callable[..., Any]
    refuses: Callable[..., str | None] = field(default=lambda *_, **__: None)
    yields: Callable[..., str | None] = field(default=lambda *_, **__: None)
    traces: bool = False

    def declines(self, *inputs: Any) -> str | None:
        """Why it does not take this call when nobody asks for it by name."""
        return self.refuses(*inputs) or self.yields(*inputs)


class Op:
    """A function with several implementations, fastest first; `ref`, the definition, is last and takes everything."""

    def __init__(self, name: str, *impls: Impl) -> None:
        if impls[-1].name != "ref":
            raise ValueError(f"op {name}: the last implementation is the definition and is called ref")
        self.name, self.impls = name, impls
        _names.update(impl.name for impl in impls)

    def explain(self, *inputs: Any) -> dict[str, str | None]:
        """Each implementation's refusal of this call, None for those that take it."""
        return {impl.name: impl.declines(*inputs) for impl in self.impls}

    def choose(self, impl: str, *inputs: Any) -> Impl:
        """The first implementation that takes the call, or the one that impl, `use` or LAMINA_IMPL names.

        What `use` and LAMINA_IMPL name goes for the ops that have it.
        """
        if torch.compiler.is_compiling():  # the tracer can read no context variable
            return next(i for i in self.impls if i.traces and i.declines(*inputs) is None)
        name = _forced.get() if impl == "auto" else impl
        chosen = None if name == "auto" else next((i for i in self.impls if i.name == name), None)
        if chosen is None:
            if name == "auto" or (impl == "auto" and name in _names):
                for i in self.impls:
                    if i.yields(*inputs) is None and i.refuses(*inputs) is None:
                        return i
            raise ValueError(f"op {self.name} has no implementation {name!r}; it has {[i.name for i in self.impls]}")
        reason = chosen.refuses(*inputs)
        if reason:
            raise ValueError(f"op {self.name}: {name} cannot take this call: {reason}")
        return chosen


def forced() -> str:
    """The implementation that `use` or LAMINA_IMPL asks for, "auto" for none."""
    return _forced.get()


@contextmanager
def use(impl: str) -> Iterator[None]:
    """Forces one implementation inside the block: `with ops.use("ref"): ...`."""
    token = _forced.set(impl)
    try:
        yield
    finally:
        _forced.reset(token)


def short(inputs: Tensor, *_: Tensor | None) -> str | None:
    """Why a chunk form yields: inputs [B,T,...] of less than SHORT frames."""
    return "for so few frames a plain loop is as quick" if inputs.shape[1] < SHORT else None


def tracing() -> str | None:
    """The reason why only plain aten loops may run now: export, compile or a functorch transform."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:  # export, compile, torch.jit.trace
        return "the call is being traced"
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "a torch.func transform has no rule for it"
    return None


def hidden() -> bool:
    """Whether what is done may not hang on the numbers of a tensor: the call is traced, or captured for a replay."""
    return tracing() is not None or getattr(captures, "told", None) is not None
