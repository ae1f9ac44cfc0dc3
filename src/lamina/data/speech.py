"""Speech with its text: utterances of a manifest as features and rows of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from lamina.core.config import UserError
from lamina.data.audio import read_audio
from lamina.data.dataset import NOT_ASKED, DataSet, Split
from lamina.data.features import Features, padded
from lamina.data.manifest import PARTS, Utterance, read_manifest
from lamina.data.shared import shared

__all__ = ["BLANK", "from_manifest", "label_rows", "speechocean762", "transcribed"]

BLANK = 0  # the class of CTC that is no label
WIDEST = 16000  # Hz: beyond it, sounds are resampled


def from_manifest(path: str | Path) -> DataSet:
    """One's own FILE.jsonl (see `read_manifest`). With texts the labels are their characters, and CTC is the task; with
    labels only, each utterance has one class.

    Sounds are heard at the lowest rate of the manifest, 16 kHz at most: 40 log-mel energies every 10 ms, four frames
    as one.
    """
    path = Path(path)
    found = read_manifest(path)
    return _manifest(path.resolve(), path.stem, path.stat().st_mtime_ns, found[0].text is not None)


def speechocean762() -> DataSet:
    """Sentences read by 250 Mandarin speakers of English, half of them children (Zhang et al. 2021, arXiv:2104.01378).

    Reads $LAMINA_DATA/speechocean762/manifest.jsonl. 2,500 utterances of 125 speakers to learn from, 480 of 24 to
    choose by, 500 of 25 to judge.
    """
    path = shared("speechocean762", "speechocean762/manifest.jsonl")
    return _manifest(path.resolve(), "speechocean762", path.stat().st_mtime_ns, True)


def transcribed(
    name: str,
    sounds: Mapping[str, Sequence[Tensor]],
    texts: Mapping[str, Sequence[str]],
    features: Features,
    source: str,
    title: str = "",
) -> DataSet:
    """A data set for CTC from sounds [n] and their texts by part; its labels are the characters of all texts, sorted.

    y [N,U] holds label numbers from 1, NOT_ASKED behind the end of a text; 0 is the blank.
    """
    alphabet = "".join(sorted(set("".join("".join(texts[part]) for part in PARTS))))
    parts = []
    for part in PARTS:
        x, lengths = _frames(f"{name}: {part}", features, sounds[part])
        parts.append(Split(x, label_rows(texts[part], alphabet), lengths))
    train, dev, test = _equal(parts)
    return DataSet(
        name,
        "audio",
        "ctc",
        train,
        dev,
        test,
        source,
        n_classes=1 + len(alphabet),
        title=title,
        labels=tuple(alphabet),
    )


def label_rows(texts: Sequence[str], alphabet: str) -> Tensor:
    """Texts as rows of label numbers from 1 [N,U] int64, NOT_ASKED behind their ends."""
    numbers = {c: 1 + i for i, c in enumerate(alphabet)}
    rows = [torch.tensor([numbers[c] for c in text]) for text in texts]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=NOT_ASKED)


@lru_cache(maxsize=2)
def _manifest(path: Path, name: str, changed: int, texts: bool) -> DataSet:
    """changed: the time of the manifest's last change, so that a new one is read anew."""
    found = read_manifest(path)
    by_part = {part: [one for one in found if one.split == part] for part in PARTS}
    features = Features(min([WIDEST, *(one.sr or _rate(one) for one in found)]))
    sounds = {part: [_sound(one, features.rate) for one in ones] for part, ones in by_part.items()}
    minutes = sum(len(sound) for part in sounds.values() for sound in part) / features.rate / 60
    speakers = len({one.speaker for one in found})
    source = f"{path.name}: {len(found):,} utterances, {minutes:.0f} min, {speakers:,} speakers, at {features.rate} Hz"
    if texts:
        said = {part: [one.text or "" for one in ones] for part, ones in by_part.items()}
        return transcribed(name, sounds, said, features, source)
    labels = sorted({one.label or "" for one in found})
    parts = []
    for part, ones in by_part.items():
        x, lengths = _frames(f"{name}: {part}", features, sounds[part])
        parts.append(Split(x, torch.tensor([labels.index(one.label or "") for one in ones]), lengths))
    train, dev, test = _equal(parts)
    return DataSet(name, "audio", "classify", train, dev, test, source, n_classes=len(labels), labels=tuple(labels))


def _rate(one: Utterance) -> int:
    return read_audio(one.audio)[1]


def _sound(one: Utterance, rate: int) -> Tensor:
    try:
        return read_audio(one.audio, rate, one.sr)[0]
    except UserError as error:
        raise UserError(f"{one.where}: {error}") from None


def _frames(where: str, features: Features, sounds: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    rows = features(sounds)
    for row, frames in enumerate(rows):
        if not len(frames):
            raise UserError(
                f"{where}: utterance {row} has {len(sounds[row]) / features.rate:.3f} s, too short for one frame of "
                f"{10 * features.stack + 15} ms; leave it out"
            )
    return padded(rows)


def _equal(parts: Sequence[Split]) -> list[Split]:
    """Parts padded to the same frames, the most that any has."""
    most = max(split.x.shape[1] for split in parts)
    pad = torch.nn.functional.pad
    return [Split(pad(split.x, (0, 0, 0, most - split.x.shape[1])), split.y, split.lengths) for split in parts]
