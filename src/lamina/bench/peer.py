"""A peer: somebody else's implementation of the same formula, imported only when asked for."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from lamina.bench.case import Case

__all__ = ["EXTRA", "Peer"]

EXTRA = "pip install 'lamina[bench]'"


def _same(y: Tensor) -> Tensor:
    return y


@dataclass(frozen=True)
class Peer:
    """case(ours) is the peer on our inputs and weights, in the layout that it likes best; making it is not timed.

    restore: its output in our layout. alike: what both outputs go through before they are compared.
    alone: what is compared with ours in place of case, where the peer is wrong on padding: each row by itself.
    distribution and module: as pip and Python call it. note: the setting chosen, or a defect.
    """

    name: str
    distribution: str
    module: str
    case: Callable[[Case], Case]
    restore: Callable[[Tensor], Tensor] = _same
    alike: Callable[[Tensor], Tensor] = _same
    note: str = ""
    alone: Callable[[Case], Case] | None = None
    install: str = EXTRA

    def missing(self) -> str | None:
        """The line that installs it, where it is not installed."""
        if importlib.util.find_spec(self.module) is None:
            return f"{self.name}: {self.distribution} is not installed; {self.install}"
        return None

    @property
    def version(self) -> str:
        return f"{self.distribution} {importlib.metadata.version(self.distribution)}"
