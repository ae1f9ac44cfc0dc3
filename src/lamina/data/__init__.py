"""Data sets: loading by name, fixed splits, checks, deterministic batches, and how each structure sees them."""

from __future__ import annotations

from collections.abc import Callable

from lamina.core.config import nearest
from lamina.data.batch import Batches, shard
from lamina.data.check import check
from lamina.data.dataset import DataSet, Split
from lamina.data.file import SUFFIX, from_file
from lamina.data.image import digits, mnist
from lamina.data.synthetic import AddingBatches, adding
from lamina.data.view import CannotTake, View, view

__all__ = [
    "DATA",
    "AddingBatches",
    "Batches",
    "CannotTake",
    "DataSet",
    "Split",
    "View",
    "check",
    "load",
    "shard",
    "view",
]

DATA: dict[str, Callable[[], DataSet]] = {"adding": adding, "digits": digits, "mnist": mnist}


def load(name: str) -> DataSet:
    """The data set of that name, or of a file FILE.npz with x, y and perhaps lengths; checked.

    Raises UserError for an unknown name (with the nearest right one), for missing files and for data nobody can
    train on.
    """
    if name.endswith(SUFFIX):
        return check(from_file(name))
    key = name.lower().replace("-", "_")
    if key not in DATA:
        raise nearest(name, DATA, "data set")
    return check(DATA[key]())
