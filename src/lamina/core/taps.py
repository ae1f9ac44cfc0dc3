"""Taps: named intermediate outputs by hooks, for companion losses, distillation and looking inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from lamina.core.config import nearest
from lamina.core.packed import Packed

__all__ = ["taps"]


@contextmanager
def taps(module: nn.Module, paths: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Collects what the named submodules return from forward.

        with taps(model, ["1", "3"]) as seen:
            y = model(x)
        seen["1"]                                   # the Seq that child 1 returned, with its graph

    A path that does not exist is an error with the nearest one. The hooks are gone when the block ends.
    """
    known = dict(module.named_modules())
    seen: dict[str, Any] = {}
    for path in paths:
        if path not in known or not path:
            raise nearest(path, (p for p in known if p), "tap")

    def keep(path: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            seen[path] = output.unpacked() if isinstance(output, Packed) else output

        return hook

    handles = [known[path].register_forward_hook(keep(path)) for path in paths]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
