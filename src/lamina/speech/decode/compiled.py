"""Functions that numba compiles at their first call; they hold no lock on Python while they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

__all__ = ["compiled"]


def compiled(function: Callable[..., Any]) -> Any:
    """The function compiled, kept on disk where numba finds a folder that it may write to."""
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # no such folder: compiled for this process alone
        return njit(nogil=True, error_model="numpy")(function)
