"""Data sets: loading by name, fixed splits, checks, deterministic batches, and how each structure sees them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lamina.data import file, named
from lamina.data.batch import Batches, batches, shard
from lamina.data.check import check
from lamina.data.copying import copy
from lamina.data.dataset import NOT_ASKED, DataSet, Split
from lamina.data.digit_strings import digit_strings, espeak_strings
from lamina.data.image import digits, mnist
from lamina.data.induction import induction
from lamina.data.mqar import mqar
from lamina.data.speech import from_manifest, speechocean762
from lamina.data.synthetic import AddingBatches, adding
from lamina.data.text import text, text_file
from lamina.data.tracking import modular, parity
from lamina.data.view import CannotTake, View, view

__all__ = [
    "DATA",
    "NOT_ASKED",
    "AddingBatches",
    "Batches",
    "CannotTake",
    "DataSet",
    "Split",
    "View",
    "batches",
    "check",
    "load",
    "shard",
    "view",
    "where",
]

DATA: dict[str, Callable[..., DataSet]] = {
    "adding": adding, "copy": copy, "digit_strings": digit_strings, "digits": digits, "espeak_strings": espeak_strings,
    "induction": induction, "mnist": mnist, "modular": modular, "mqar": mqar, "parity": parity,
    "speechocean762": speechocean762, "text": text,
}  # fmt: skip
FILES: dict[str, Callable[[str], DataSet]] = {
    file.SUFFIX: file.from_file,
    ".jsonl": from_manifest,
    ".txt": text_file,
}


def load(name: str) -> DataSet:
    """The data set of that name, or of a file: FILE.npz with x, y and perhaps lengths, a text FILE.txt, a manifest
    FILE.jsonl of sounds; checked.

    A name may carry options: "mqar:pairs=16,length=128", "adding:frames=500"; the data set's own name spells them in
    one way. Raises UserError for an unknown name or option (with the nearest right one), for missing files and for data
    nobody can train on.
    """
    if read := FILES.get(Path(name).suffix):
        return check(read(name))
    key, options = named.parse(name, DATA)
    make = DATA[key]
    return check(replace(make(**options), name=named.spell(key, options, make)))


def where(name: str) -> str:
    """The name by which other processes and later commands find the same data: a file by its whole path."""
    if Path(name).suffix in FILES:
        return str(Path(name).resolve())
    key, options = named.parse(name, DATA)
    return named.spell(key, options, DATA[key])
