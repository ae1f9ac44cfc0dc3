"""Speech with its text: utterances as features and rows of labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lamina.core.config import UserError
from lamina.data.backgrounds import read_backgrounds
from lamina.data.dataset import NOT_ASKED, DataSet, Split
from lamina.data.features import Features
from lamina.data.hearing import Hearing
from lamina.data.manifest import PARTS, Utterance
from lamina.data.problems import Problems
from lamina.data.ragged import Ragged
from lamina.data.sounds import Samples
from lamina.data.source import HUB, lowest, read_source, stamp
from lamina.data.vary import Backgrounds, Masks, faster

__all__ = ["BLANK", "from_hub", "from_source", "heard", "label_rows", "written"]

BLANK = 0  # the class of CTC that is no label


class Heard(NamedTuple):
    """The frames [T,D] of each utterance of a part, the utterances in the same order, and seconds of sound."""

    rows: list[Tensor]
    ones: list[Utterance]
    seconds: float


def from_source(path: str | Path, pieces: int = 0, hearing: Hearing = Hearing()) -> DataSet:
    """One's own sounds: a manifest FILE.jsonl, a folder, or a set of the Hub (see `read_source`). With texts the labels
    are their characters, or so many pieces of words that SentencePiece learns from those of the training part
    (`Units.learn`), and CTC is the task; with labels only, each utterance has one class.

    Sounds are heard at the lowest rate of the set, 16 kHz at most. Raises one UserError that names all files and lines
    that are missing or wrong.
    """
    return heard(str(path), Path(path).stem, hearing, pieces=pieces)


def from_hub(name: str, pieces: int = 0, hearing: Hearing = Hearing()) -> DataSet:
    """Sounds of org/name on the Hugging Face Hub, or of a folder of its Parquet files (see `read_hub`); as
    `from_source`.
    """
    return heard(HUB + name, name.rpartition("/")[2], hearing, pieces=pieces)


def heard(
    path: str, name: str, hearing: Hearing, *, classes: bool = False, title: str = "", pieces: int = 0
) -> DataSet:  # fmt: skip
    """The data set of a source. classes: its labels, not its texts. pieces: as in `from_source`."""
    return _heard(path, name, hearing, classes, title, pieces, stamp(path))


@lru_cache(maxsize=2)
def _heard(path: str, name: str, hearing: Hearing, classes: bool, title: str, pieces: int, changed: int) -> DataSet:
    """changed: the time of the source's last change, so that a new one is read anew."""
    found = read_source(path)
    features = hearing.features(lowest(found))
    backgrounds, problems = read_backgrounds(hearing.noises, features.rate), Problems(name)
    parts = {
        part: _part([one for one in found if one.split == part], part, hearing, features, backgrounds, problems)
        for part in PARTS
    }
    texts = (
        None if classes or found[0].text is None else {p: [one.text or "" for one in h.ones] for p, h in parts.items()}
    )
    if texts is not None:
        _known(texts, parts, problems)
    problems.told()
    minutes, speakers = sum(h.seconds for h in parts.values()) / 60, len({one.speaker for one in found})
    where = Path(path).name
    source = f"{where}: {len(found):,} utterances, {minutes:.0f} min, {speakers:,} speakers, at {features.rate} Hz"
    source += hearing.told()
    rows = {part: h.rows for part, h in parts.items()}
    if texts is not None:
        return written(name, rows, texts, features, source, title=title, masks=hearing.hidden(), pieces=pieces)
    if hearing.samples:
        raise UserError(f"{path}: has labels, no texts; a structure that hears samples learns texts here")
    labels = sorted({one.label or "" for one in found})
    y = {part: torch.tensor([labels.index(one.label or "") for one in h.ones]) for part, h in parts.items()}
    return _dataset(
        name, "classify", rows, y, features=features, source=source, title=title, masks=hearing.hidden(),
        labels=tuple(labels), n_classes=len(labels),
    )  # fmt: skip


def _part(
    ones: Sequence[Utterance], part: str, hearing: Hearing, features: Features | Samples, backgrounds: Backgrounds,
    problems: Problems,
) -> Heard:  # fmt: skip
    """The features of a part; of train at every speed, varied. One sound is in memory at a time; bad ones are kept."""
    kept: list[Utterance] = []
    generator = torch.Generator().manual_seed(2 * PARTS.index(part))
    seconds = 0.0

    def sounds() -> Iterator[Tensor]:
        nonlocal seconds
        for one in ones:
            with problems.kept(one.where):
                sound = _sound(one, features)
                seconds += len(sound) / features.rate
                for percent in hearing.speed if part == "train" else (100,):
                    kept.append(one)
                    sped = faster(sound, percent)
                    yield hearing.varied(sped, backgrounds, generator) if part == "train" else sped

    return Heard(features(sounds()), kept, seconds)


def _sound(one: Utterance, features: Features | Samples) -> Tensor:
    sound = one.heard(features.rate)
    if not features.frames(len(sound)):
        held, frame = len(sound) / features.rate, features.seconds * 1000
        raise UserError(f"has {held:.3f} s, too short for one frame of {frame:.0f} ms; leave it out")
    return sound


def _known(texts: Mapping[str, Sequence[str]], parts: Mapping[str, Heard], problems: Problems) -> None:
    """Refuses characters that no training text holds: nobody could learn to write them."""
    alphabet = set("".join(texts["train"]))
    for part in PARTS[1:]:
        for one, text in zip(parts[part].ones, texts[part], strict=True):
            if strange := sorted(set(text) - alphabet):
                with problems.kept(one.where):
                    raise UserError(f"no training text has {', '.join(map(repr, strange))}; write it otherwise")


def written(
    name: str,
    rows: Mapping[str, list[Tensor]],
    texts: Mapping[str, Sequence[str]],
    features: Features | Samples,
    source: str,
    *,
    title: str = "",
    alphabet: str | None = None,
    masks: Masks | None = None,
    aligned: Mapping[str, Sequence[Tensor]] | None = None,
    pieces: int = 0,
) -> DataSet:
    """A data set for CTC from features [T,D] and the texts by part; its labels are the characters of the training
    texts, sorted, or those of `alphabet`, or so many pieces of the training texts.

    y [N,U] holds label numbers from 1, NOT_ASKED behind the end of a text; 0 is the blank. aligned: the label of each
    frame [T] of each utterance, where it is known.
    """
    from lamina.speech.units import Units  # lamina.speech reads runs, and so this package

    units = Units.learn(texts["train"], pieces) if pieces else Units.characters(alphabet or texts["train"])
    y = {part: label_rows([units.encode(text) for text in texts[part]]) for part in PARTS}
    return _dataset(
        name, "ctc", rows, y, aligned, features=features, source=source, title=title, masks=masks,
        labels=units.pieces, n_classes=1 + len(units.pieces), units=units if pieces else None,
    )  # fmt: skip


def label_rows(rows: Sequence[list[int]]) -> Tensor:
    """Rows of label numbers as [N,U] int64, NOT_ASKED behind their ends."""
    return pad_sequence([torch.tensor(row, dtype=torch.int64) for row in rows], True, NOT_ASKED)


def _dataset(
    name: str, task: Literal["ctc", "classify"], rows: Mapping[str, list[Tensor]], y: Mapping[str, Tensor],
    aligned: Mapping[str, Sequence[Tensor]] | None = None, **facts: Any,
) -> DataSet:  # fmt: skip
    """Features or samples and targets by part as a data set; features read as if padded to the longest row of all."""
    if sampled := isinstance(facts["features"], Samples):
        facts["rate"] = facts.pop("features").rate
    most = 0 if sampled else max(len(row) for part in rows.values() for row in part)
    splits = []
    for part in PARTS:
        x = Ragged(rows[part], most)
        known = None if aligned is None else pad_sequence(list(aligned[part]), True, NOT_ASKED)
        splits.append(Split(x, y[part], x.lengths, known))
    return DataSet(name, "samples" if sampled else "audio", task, *splits, **facts)
