"""Data sets: loading by name, fixed splits, checks, deterministic batches, and how each structure sees them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lamina.data import file, marked, named
from lamina.data.batch import Batches, batches, shard
from lamina.data.check import check
from lamina.data.copying import copy
from lamina.data.dataset import NOT_ASKED, DataSet, Split
from lamina.data.documents import mlm, mlm_file
from lamina.data.image import digits, mnist
from lamina.data.induction import induction
from lamina.data.labelled import TABLES, text_table
from lamina.data.mqar import mqar
from lamina.data.synthetic import AddingBatches, adding
from lamina.data.text import text, text_file
from lamina.data.tracking import modular, parity
from lamina.data.view import CannotTake, View, view
from lamina.data.vocabulary import Vocabulary

__all__ = [
    "DATA",
    "NOT_ASKED",
    "AddingBatches",
    "Batches",
    "CannotTake",
    "DataSet",
    "Split",
    "View",
    "Vocabulary",
    "batches",
    "check",
    "load",
    "shard",
    "view",
    "where",
]

DATA: dict[str, Callable[..., DataSet]] = {
    "adding": adding, "copy": copy, "digits": digits, "induction": induction, "mlm": mlm, "mnist": mnist,
    "modular": modular, "mqar": mqar, "parity": parity, "text": text,
}  # fmt: skip
FILES: dict[str, Callable[[str], DataSet]] = {file.SUFFIX: file.from_file, ".txt": text_file}
WORDED: dict[str, Callable[..., DataSet]] = {"texts": text_table, "words": marked.tagged, "spans": marked.spans}
READ = "mlm:"  # before a file: its text is to pretrain on


def load(name: str, vocabulary: Vocabulary | None = None) -> DataSet:
    """The data set of that name, or of a file FILE.npz with x, y and perhaps lengths, of a text FILE.txt, or of texts
    with labels FILE.tsv, .csv or .jsonl, the last also of words with labels, or of questions; "mlm:FILE" is the text of
    a file to pretrain on. Checked.

    A name may carry options: "mqar:pairs=16,length=128", "mlm:FILE.txt,length=64"; the data set's own name spells them
    in one way. vocabulary: of words, where the data set is not to learn its own. Raises UserError for an unknown name
    or option (with the nearest right one), for missing files and for data nobody can train on.
    """
    path, name = _file(name)
    if path and not name:
        suffix = Path(path).suffix
        if suffix in TABLES:
            return check(WORDED[marked.kind_of(Path(path))](path, vocabulary=vocabulary))
        return check(FILES[suffix](path))
    key, options = named.parse(name, DATA)
    more: dict[str, Any] = {"vocabulary": vocabulary} if vocabulary and key == "mlm" else {}
    if path:
        return check(mlm_file(path, **options, **more))
    make = DATA[key]
    return check(replace(make(**options, **more), name=named.spell(key, options, make)))


def where(name: str) -> str:
    """The name by which other processes and later commands find the same data: a file by its whole path."""
    path, name = _file(name)
    if path and not name:
        return str(Path(path).resolve())
    key, options = named.parse(name, DATA)
    spelled = named.spell(key, options, DATA[key])
    if not path:
        return spelled
    return ",".join([f"{READ}{Path(path).resolve()}", *spelled.split(":")[1:]])


def _file(name: str) -> tuple[str, str]:
    """The file that a name speaks of, and the name without it: "mlm:a.txt,length=64" is a.txt and mlm:length=64."""
    if Path(name).suffix in (*FILES, *TABLES) and not name.startswith(READ):
        return name, ""
    path, _, options = name.removeprefix(READ).partition(",")
    if name.startswith(READ) and Path(path).suffix in (".txt", *TABLES):
        return path, f"{READ}{options}" if options else "mlm"
    return "", name
