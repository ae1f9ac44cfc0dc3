"""Data sets: loading by name, fixed splits, checks, deterministic batches, and how each structure sees them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lamina.core.config import UserError
from lamina.data import file, marked, named
from lamina.data.batch import Batches, batches, shard
from lamina.data.check import check
from lamina.data.cifar import cifar10
from lamina.data.copying import copy
from lamina.data.dataset import NOT_ASKED, DataSet, Split
from lamina.data.dates import dates
from lamina.data.digit_mels import digit_mels
from lamina.data.digit_strings import digit_strings, espeak_strings
from lamina.data.documents import mlm, mlm_file
from lamina.data.image import digits, mnist
from lamina.data.induction import induction
from lamina.data.labelled import TABLES, text_table
from lamina.data.mqar import mqar
from lamina.data.pairs import multi30k, pairs_file
from lamina.data.speech import from_manifest, speechocean762
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
    "adding": adding, "cifar10": cifar10, "copy": copy, "dates": dates, "digit_mels": digit_mels,
    "digit_strings": digit_strings,
    "digits": digits, "espeak_strings": espeak_strings, "induction": induction, "mlm": mlm, "mnist": mnist,
    "modular": modular, "mqar": mqar, "multi30k": multi30k, "parity": parity, "speechocean762": speechocean762,
    "text": text,
}  # fmt: skip
FILES: dict[str, Callable[[str], DataSet]] = {file.SUFFIX: file.from_file, ".txt": text_file}
# before a file, as in mlm:FILE.txt,length=64: how it is read, and which files
READ: dict[str, tuple[Callable[..., DataSet], tuple[str, ...]]] = {
    "mlm": (mlm_file, (".txt", *TABLES)),
    "pairs": (pairs_file, (".tsv", ".txt")),
}
LABELLED: dict[str, Callable[..., DataSet]] = {"texts": text_table, "words": marked.tagged, "spans": marked.spans}
WORDED = ("mlm", "multi30k", "pairs")  # that may be read with a vocabulary at hand


def load(name: str, vocabulary: Vocabulary | None = None) -> DataSet:
    """The data set of that name, or of a file FILE.npz with x, y and perhaps lengths, of a text FILE.txt, or of texts
    with labels FILE.tsv, .csv or .jsonl, the last also of words with labels, of questions, or the manifest of sounds;
    "mlm:FILE" is the text of a file to pretrain on, "pairs:FILE.tsv" texts with their translations. Checked.

    A name may carry options: "mqar:pairs=16,length=128", "mlm:FILE.txt,length=64"; the data set's own name spells them
    in one way. vocabulary: of words, where the data set is not to learn its own. Raises UserError for an unknown name
    or option (with the nearest right one), for missing files and for data nobody can train on.
    """
    path, name = _file(name)
    if path and not name:
        suffix = Path(path).suffix
        kind = marked.kind_of(Path(path)) if suffix in TABLES else ""
        if kind in LABELLED:
            return check(LABELLED[kind](path, vocabulary=vocabulary))
        if kind == "sounds":
            return check(from_manifest(path))
        return check(FILES[suffix](path))
    key, options = named.parse(name, _makers())
    more: dict[str, Any] = {"vocabulary": vocabulary} if vocabulary and key in WORDED else {}
    if path:
        return check(READ[key][0](path, **options, **more))
    make = DATA[key]
    return check(replace(make(**options, **more), name=named.spell(key, options, make)))


def where(name: str) -> str:
    """The name by which other processes and later commands find the same data: a file by its whole path."""
    path, name = _file(name)
    if path and not name:
        return str(Path(path).resolve())
    key, options = named.parse(name, _makers())
    spelled = named.spell(key, options, _makers()[key])
    if not path:
        return spelled
    return ",".join([f"{key}:{Path(path).resolve()}", *spelled.split(":")[1:]])


def _file(name: str) -> tuple[str, str]:
    """The file that a name speaks of, and the name without it: "mlm:a.txt,length=64" is a.txt and mlm:length=64."""
    key, _, rest = name.partition(":")
    path, _, options = rest.partition(",")
    if key in READ and Path(path).suffix in READ[key][1]:
        return path, f"{key}:{options}" if options else key
    if key in READ and key not in DATA:
        kinds = " or ".join(READ[key][1])
        raise UserError(f"{name}: {key} reads a file; write {key}:FILE, which ends in {kinds}")
    if Path(name).suffix in (*FILES, *TABLES):
        return name, ""
    return "", name


def _makers() -> dict[str, Callable[..., DataSet]]:
    """What takes options: the data sets, and what reads files."""
    return {key: make for key, (make, _) in READ.items()} | DATA
