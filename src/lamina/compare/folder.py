"""The output folder of a comparison: whose it is, that only one process writes there, and the records in it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lamina.core.config import SCHEMA, UserError, check_schema
from lamina.train import checkpoint

__all__ = ["Folder"]

RECORDS = ("trials", "scores", "measured")  # folders of small JSON files, one a unit of work
FILES = ("plan.json", "data.safetensors", "results.json", "results.csv", "report.html", ".lock")


class Folder:
    """What is finished stands in it under its final name, so that a run killed at any moment can go on."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @contextmanager
    def claimed(self, *, fresh: bool) -> Iterator[Folder]:
        """Makes the folder this process's own for a while. fresh: what an earlier comparison left is removed first.

        A folder with files of anything else, or one in which another process is at work, is a UserError.
        """
        self._inspect()
        made = [p for p in (self.path, *self.path.parents) if not p.exists()]
        with checkpoint.said_plainly(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._lock(lock)
            if fresh:
                self._clear()
            for part in self.path.rglob("*.part"):
                part.unlink()
            try:
                yield self
            finally:
                self._leave(made)
        finally:
            os.close(lock)

    def read(self, name: str) -> dict[str, Any] | None:
        """The record of that name ("plan", "trials/lstm-0.003-0"), or None where it is not there yet."""
        path = self.path / f"{name}.json"
        if not path.is_file():
            return None
        found = checkpoint.read_json(path)
        check_schema(found.get("schema"), str(path))
        return found

    def write(self, name: str, facts: dict[str, Any]) -> None:
        """Writes a record whole or not at all; a full disk is a UserError."""
        checkpoint.write_json(self.path / f"{name}.json", {"schema": SCHEMA, **facts})

    def _inspect(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path}: is a file; choose another --out")
        if not self.path.is_dir():
            return
        names = [p.name for p in self.path.iterdir() if not p.name.endswith((".part", ".tmp"))]
        other = sorted(set(names) - {*RECORDS, *FILES})
        if other:
            raise UserError(f"{self.path}: holds {other[0]}, which is not of a comparison; choose another --out")

    def _leave(self, made: list[Path]) -> None:
        """Where nothing came of it, no empty folder stays behind."""
        if [p.name for p in self.path.iterdir()] != [".lock"]:
            return
        (self.path / ".lock").unlink()
        for path in made:
            if not any(path.iterdir()):
                path.rmdir()

    def _lock(self, lock: int) -> None:
        try:
            import fcntl
        except ImportError:  # Windows has no flock: two runs in one folder are then the user's care
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                return  # a file system without locks
            raise UserError(
                f"{self.path}: another lamina compare is at work here; wait for it or choose another --out"
            ) from None

    def _clear(self) -> None:
        for name in RECORDS:
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in FILES:
            if name != ".lock":
                (self.path / name).unlink(missing_ok=True)
