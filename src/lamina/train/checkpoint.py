"""Checkpoints: safetensors and JSON, one folder a checkpoint, there wholly or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lamina.core.config import SCHEMA, UserError, check_schema

__all__ = ["latest", "read_json", "said_plainly", "same_run", "write", "write_json"]

TENSORS, FACTS = "state.safetensors", "checkpoint.json"


def write(folder: Path, step: int, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Writes folder/<step>/ under a temporary name, renames it, then removes the older ones.

    facts is plain JSON data. A full disk or a folder that may not be written is a UserError.
    """
    final = folder / f"{step:08d}"
    part = folder / f"{step:08d}.part"
    with said_plainly(folder, part):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        # clones, because safetensors refuses tensors that share memory, as tied weights do
        save_file({name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}, part / TENSORS)
        (part / FACTS).write_text(json.dumps({"schema": SCHEMA, "step": step, **facts}, allow_nan=False))
        shutil.rmtree(final, ignore_errors=True)
        os.replace(part, final)
    for older in _all(folder):
        if older != final:
            shutil.rmtree(older, ignore_errors=True)


def latest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and facts of the newest checkpoint in a folder, or None where there is none."""
    found = _all(folder)
    if not found:
        return None
    path = found[-1]
    facts = read_json(path / FACTS)
    check_schema(facts.get("schema"), str(path / FACTS))
    try:
        return load_file(path / TENSORS), facts
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path / TENSORS}: cannot be read ({error}); remove {path} and start again") from None


def same_run(folder: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    """UserError where a folder's checkpoint is of a run that differs in what is asked."""
    for key, mine in asked.items():
        if (theirs := found.get(key)) != mine:
            raise UserError(f"{folder}: holds another run ({key} {theirs}, here {mine}); choose another folder")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); remove it and start again") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no JSON object; remove it and start again")
    return found


def write_json(path: Path, facts: dict[str, Any]) -> None:
    """Writes a JSON object under a temporary name, then renames it."""
    part = path.with_name(f"{path.name}.part")
    with said_plainly(path, part):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n")
        os.replace(part, path)


@contextmanager
def said_plainly(path: Path, part: Path | None = None) -> Iterator[None]:
    """A failing disk as one line: which path, what happened, what to do; the unfinished part is removed."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if part is not None and part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        elif part is not None:
            part.unlink(missing_ok=True)
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        remedy = "free some space or choose another folder" if full else "choose a folder that can be written"
        why = "the disk is full" if full else getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: cannot be written, {why}; {remedy}") from None


def _all(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(p for p in folder.glob("*") if p.name.isdigit() and p.is_dir())
