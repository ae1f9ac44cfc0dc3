"""The fair comparison: every structure on the same data, weights, steps and learning rates, with a report."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["Settings", "Solved", "Watcher", "compare", "solve"]

HOME = {"Settings": "plan", "Solved": "budget", "Watcher": "watch", "compare": "engine", "solve": "budget"}


def __getattr__(name: str) -> Any:
    """Loaded on first use: a report alone needs no torch."""
    if name not in HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"lamina.compare.{HOME[name]}"), name)
