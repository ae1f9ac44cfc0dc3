"""opened: a folder that a command is given, which is a run of lamina's or a model of others'."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from lamina.core.config import UserError
from lamina.interop import load, local
from lamina.train.run import RUN

__all__ = ["opened"]


def opened(folder: str | Path) -> tuple[Path, nn.Module | None]:
    """Where the folder lies (org/name is fetched from the Hub), and the model in it; None where it is a run's."""
    found = local(folder)
    if (found / RUN).is_file():
        return found, None
    if not (found / "config.json").is_file():
        raise UserError(f"{folder}: holds no {RUN} and no config.json; give a run, or others' folder")
    return found, load(found)
