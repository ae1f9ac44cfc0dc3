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
from lamina.data.commands import espeak_commands
from lamina.data.copying import copy
from lamina.data.corpora import speech_commands, speechocean762
from lamina.data.dataset import NOT_ASKED, DataSet, Split
from lamina.data.dates import dates
from lamina.data.digit_mels import digit_mels
from lamina.data.digit_strings import digit_strings, espeak_strings
from lamina.data.documents import mlm, mlm_file
from lamina.data.hearing import Hearing
from lamina.data.image import digits, mnist
from lamina.data.induction import induction
from lamina.data.labelled import TABLES, text_table
from lamina.data.mqar import mqar
from lamina.data.pairs import multi30k, pairs_file
from lamina.data.source import HUB
from lamina.data.speech import from_hub, from_source
from lamina.data.synthetic import AddingBatches, adding
from lamina.data.text import text, text_file
from lamina.data.tracking import modular, parity
from lamina.data.unlabelled import FRAMES, PREFIX, SHARED, split_name, unlabelled
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
    "seen_by",
    "shard",
    "view",
    "where",
]

DATA: dict[str, Callable[..., DataSet]] = {
    "adding": adding, "cifar10": cifar10, "copy": copy, "dates": dates, "digit_mels": digit_mels,
    "digit_strings": digit_strings,
    "digits": digits, "espeak_commands": espeak_commands, "espeak_strings": espeak_strings, "induction": induction,
    "mlm": mlm, "mnist": mnist, "modular": modular, "mqar": mqar, "multi30k": multi30k, "parity": parity,
    "speech_commands": speech_commands, "speechocean762": speechocean762, "text": text,
}  # fmt: skip
FILES: dict[str, Callable[[str], DataSet]] = {file.SUFFIX: file.from_file, ".txt": text_file}
# before a file, as in mlm:FILE.txt,length=64: how it is read, and which files; "" a folder
READ: dict[str, tuple[Callable[..., DataSet], tuple[str, ...]]] = {
    "mlm": (mlm_file, (".txt", *TABLES)),
    "pairs": (pairs_file, (".tsv", ".txt")),
    "speech": (from_source, (".jsonl", ".json", "")),
    HUB[:-1]: (from_hub, ("",)),
}
LABELLED: dict[str, Callable[..., DataSet]] = {"texts": text_table, "words": marked.tagged, "spans": marked.spans}
SAMPLES = "samples:"
HEARD = ("digit_strings", "espeak_commands", "espeak_strings", "hub", "speech", "speechocean762")
WORDED = ("mlm", "multi30k", "pairs")  # that may be read with a vocabulary at hand


def load(name: str, vocabulary: Vocabulary | None = None) -> DataSet:
    """The data set of that name, or of a file FILE.npz with x, y and perhaps lengths, of a text FILE.txt, or of texts
    with labels FILE.tsv, .csv or .jsonl, the last also of words with labels, of questions, or the manifest of sounds;
    "mlm:FILE" is the text of a file to pretrain on, "pairs:FILE.tsv" texts with their translations, "speech:FOLDER" or
    "speech:FILE.jsonl" sounds, "hub:ORG/NAME" those of the Hugging Face Hub. Checked.

    A name may carry options: "mqar:pairs=16,length=128", "mlm:FILE.txt,length=64"; the data set's own name spells them
    in one way. vocabulary: of words, where the data set is not to learn its own. "samples:NAME" is a set of speech as
    its samples, "unlabelled:A+B" the samples of several without their texts, "unlabelled_frames:A+B" their frames.
    Raises UserError for an unknown name or option (with the nearest right one), for missing files and for data nobody
    can train on.
    """
    if name.startswith((PREFIX, FRAMES)):
        return check(unlabelled(name, lambda one: load(f"{SAMPLES}{one}")))
    if name.startswith(SAMPLES):
        return check(_samples(name.removeprefix(SAMPLES)))
    path, name = _file(name)
    if path and not name:
        suffix = Path(path).suffix
        kind = marked.kind_of(Path(path)) if suffix in TABLES else ""
        if kind in LABELLED:
            return check(LABELLED[kind](path, vocabulary=vocabulary))
        if kind == "sounds":
            return check(from_source(path))
        return check(FILES[suffix](path))
    key, options = named.parse(name, _makers() if path else DATA)
    more: dict[str, Any] = {"vocabulary": vocabulary} if vocabulary and key in WORDED else {}
    if path:
        return check(READ[key][0](path, **options, **more))
    make = DATA[key]
    return check(replace(make(**options, **more), name=named.spell(key, options, make)))


def _samples(name: str) -> DataSet:
    """A set of speech as its samples."""
    path, name = _file(name)
    makers = {key: make for key, make in (_makers() if path else DATA).items() if key in HEARD}
    key, options = named.parse(name or ("speech" if path else ""), makers, "set of speech")
    options["hearing"] = replace(options.get("hearing", Hearing()), samples=True)
    found = READ[key][0](path, **options) if path else DATA[key](**options)
    spelled = found.name if path else named.spell(key, options, DATA[key])
    return replace(found, name=f"{SAMPLES}{spelled}")


def seen_by(view: str, name: str) -> str:
    """The name of a data set as a structure of that view takes it: of speech its samples, where it hears samples."""
    if view != "waveform" or name.startswith((PREFIX, FRAMES, SAMPLES)):
        return name
    return f"{SAMPLES}{name}"


def where(name: str) -> str:
    """The name by which other processes and later commands find the same data: a file by its whole path."""
    if name.startswith(SAMPLES):
        return f"{SAMPLES}{where(name.removeprefix(SAMPLES))}"
    if name.startswith((PREFIX, FRAMES)):
        sources, seconds = split_name(name)
        paths = [_here(one) if Path(one).exists() or one in SHARED else where(one) for one in sources]
        return f"{name.partition(':')[0]}:{'+'.join(paths)},seconds={seconds:g}"
    path, name = _file(name)
    if path and not name:
        return str(Path(path).resolve())
    key, options = named.parse(name, _makers() if path else DATA)
    hearing = options.get("hearing")
    if hearing and hearing.noises:
        options["hearing"] = replace(hearing, noises=Path(_here(str(hearing.noises))))
    spelled = named.spell(key, options, _makers()[key])
    if not path:
        return spelled
    found = path if f"{key}:" == HUB and not Path(path).is_dir() else Path(path).resolve()
    return ",".join([f"{key}:{found}", *spelled.split(":")[1:]])


def _file(name: str) -> tuple[str, str]:
    """The file that a name speaks of, and the name without it: "mlm:a.txt,length=64" is a.txt and mlm:length=64."""
    key, _, rest = name.partition(":")
    path, _, options = rest.partition(",")
    kinds = READ[key][1] if key in READ else ()
    if path and ("" in kinds or Path(path).suffix in kinds):
        return path, f"{key}:{options}" if options else key
    if kinds and key not in DATA:
        other = "ORG/NAME" if f"{key}:" == HUB else "FOLDER"
        forms = " or ".join(f"{key}:FILE{kind}" if kind else f"{key}:{other}" for kind in kinds)
        raise UserError(f"{name}: names nothing that {key} reads; write {forms}")
    if Path(name).suffix in (*FILES, *TABLES):
        return name, ""
    return "", name


def _here(path: str) -> str:
    """A path that exists, whole; any other as it is, for it may be another kind of name."""
    return str(Path(path).resolve()) if Path(path).exists() else path


def _makers() -> dict[str, Callable[..., DataSet]]:
    """What takes options: the data sets, and what reads files."""
    return {key: make for key, (make, _) in READ.items()} | DATA
