"""Problems: what is wrong with many files, told at once instead of one after another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lamina.core.config import UserError

__all__ = ["Problems"]

SHOWN = 10


class Problems:
    """Collects UserErrors while files are read; `told` raises one that names the first ten, and how many there are."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.found: list[str] = []

    @contextmanager
    def kept(self, where: str = "") -> Iterator[None]:
        """A UserError inside is kept, with the place in front, and the next thing is read."""
        try:
            yield
        except UserError as error:
            self.found.append(f"{where}: {error}" if where else str(error))

    def told(self) -> None:
        """Raises UserError where anything was found: one line for one problem, a list for more."""
        if not self.found:
            return
        if len(self.found) == 1:
            raise UserError(self.found[0])
        more = len(self.found) - SHOWN
        lines = [*self.found[:SHOWN], *([f"and {more:,} more"] if more > 0 else [])]
        raise UserError("\n  ".join([f"{self.what}: {len(self.found):,} problems:", *lines]))
