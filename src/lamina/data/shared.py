"""Data that cannot be installed: files below the folder that LAMINA_DATA names."""

from __future__ import annotations

import os
from pathlib import Path

from lamina.core.config import UserError

__all__ = ["shared"]


def shared(name: str, file: str) -> Path:
    """The path of that file of the data set `name`; UserError where the folder or the file is not there."""
    root = os.environ.get("LAMINA_DATA")
    if not root:
        raise UserError(f"{name}: LAMINA_DATA is not set; set it to the folder that holds {file}")
    path = Path(root) / file
    if not path.is_file():
        raise UserError(f"{name}: {path} is not there; set LAMINA_DATA to the folder that holds {file}")
    return path
