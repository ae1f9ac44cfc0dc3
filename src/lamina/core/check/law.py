"""What a law is: a function of a case, with a name and a line that says what it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lamina.core.check.case import Case
from lamina.core.check.policy import LawError, Skipped
from lamina.core.layer import NotStreamable

__all__ = ["Law", "law"]


@dataclass(frozen=True)
class Law:
    """A law, callable on a Case: raises LawError where the layer breaks it, Skipped where it does not apply.

    streams: only for layers with a streaming form. slow: takes seconds to minutes a layer.
    """

    name: str
    about: str
    run: Callable[[Case], None]
    streams: bool
    slow: bool

    def __call__(self, case: Case) -> None:
        try:
            if self.streams and case.reason is not None:
                raise Skipped(str(case.reason))
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                self.run(case)
        except LawError as error:
            raise error.of(case.name, self.name) from None
        except NotStreamable as error:
            raise LawError(f"raises NotStreamable ({error}) although stream_spec() gives a spec").of(
                case.name, self.name
            ) from error


def law(
    *, name: str | None = None, streams: bool = True, slow: bool = False
) -> Callable[[Callable[[Case], None]], Law]:
    """Makes a law of a function; its docstring's first line is what `lamina check --help` shows."""

    def make(run: Callable[[Case], None]) -> Law:
        about = (run.__doc__ or "").strip().splitlines()[0].rstrip(".")
        return Law(name or run.__name__, about, run, streams, slow)

    return make
