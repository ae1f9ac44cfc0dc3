"""Noises and rooms of a folder or a manifest, to mix with what is learned from."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from lamina.core.config import UserError
from lamina.data.problems import Problems
from lamina.data.source import read_source
from lamina.data.vary import Backgrounds

__all__ = ["read_backgrounds"]

ROOMS = ("rir", "rirs", "room", "rooms")  # folders of impulse responses; all other sounds are noises


@lru_cache(maxsize=2)
def read_backgrounds(path: Path | None, rate: int) -> Backgrounds:
    """The sounds of a folder or manifest at that rate: impulse responses where a folder on their way is called rir,
    rirs, room or rooms, else noises. A path that is not here is looked for in $LAMINA_DATA. None: white noise, no room.
    """
    if path is None:
        return Backgrounds()
    there = path if path.exists() else Path(os.environ.get("LAMINA_DATA", "")) / path
    if not there.exists():
        raise UserError(f"noises={path}: no such folder or manifest, here or in $LAMINA_DATA")
    problems = Problems(f"noises={path}")
    noises, rooms = [], []
    for one in read_source(there, bare=True):
        with problems.kept(one.where):
            sound = one.heard(rate)
            inside = os.path.relpath(str(one.audio), there if there.is_dir() else there.parent)
            (rooms if any(part in ROOMS for part in Path(inside).parent.parts) else noises).append(sound)
    problems.told()
    return Backgrounds(tuple(noises), tuple(rooms), path)
