"""Speech without its text, to pretrain on: data sets by name, manifests, and folders of sounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lamina.core.config import UserError
from lamina.data.audio import resampled
from lamina.data.dataset import FULL, DataSet, Split
from lamina.data.features import Features
from lamina.data.manifest import PARTS, Utterance, parted
from lamina.data.problems import Problems
from lamina.data.ragged import Ragged
from lamina.data.shared import shared
from lamina.data.sounds import pieces, whole
from lamina.data.source import HUB, lowest, read_source

__all__ = ["FRAMES", "PREFIX", "SHARED", "split_name", "unlabelled"]

PREFIX, FRAMES = "unlabelled:", "unlabelled_frames:"
SHARED = {"librispeech_unlabelled": "librispeech_unlabelled/manifest.jsonl"}  # one utterance of each of 251 speakers
SECONDS, SHORTEST = 8.0, 1.0  # of a piece
Parts = dict[str, Iterable[Tensor]]  # read one by one: hours of samples are held once, as 16 bit


def unlabelled(name: str, known: Callable[[str], DataSet]) -> DataSet:
    """ "unlabelled:A+B,seconds=8": the sounds of A and of B, in pieces of at most so many seconds, without a label;
    "unlabelled_frames:A+B,seconds=8" as the frames that other sets of speech give (`Features`).

    A source is a folder, a manifest FILE.jsonl or a set hub:ORG/NAME (`read_source`), whose texts are left unread; the
    name librispeech_unlabelled (below $LAMINA_DATA); or any set of speech by its name, whose parts stay what they are;
    known gives its samples. A source without parts has a tenth held out for dev and a tenth for test (`parted`). All
    are heard at the lowest rate, 16 kHz at most; pieces shorter than a second are left out.
    """
    sources, seconds = split_name(name)
    problems = Problems(name)
    found = [_source(source, known, problems) for source in sources]
    rate = min(rate for _, rate in found)
    features = Features(rate) if name.startswith(FRAMES) else None
    parts: dict[str, list[Tensor]] = {}
    for part in PARTS:
        sounds = (resampled(sound, own, rate) for of, own in found for sound in of[part])
        parts[part] = (features or whole)(pieces(sounds, round(seconds * rate), round(SHORTEST * rate)))
    problems.told()
    for part, rows in parts.items():
        if not rows:
            raise UserError(f"{name}: {part}: no sound of a second or more; give more of them, or longer ones")
    each = features.seconds if features else 1 / rate
    minutes = sum(len(row) for rows in parts.values() for row in rows) * each / 60
    source = f"{' and '.join(Path(s).name for s in sources)}: {minutes:.0f} min in pieces, at {rate} Hz, without text"
    longest = max(len(row) for rows in parts.values() for row in rows)
    held = [Ragged(parts[part], longest) for part in PARTS]
    splits = [Split(x, torch.zeros(len(x), dtype=torch.int64), x.lengths) for x in held]
    kind: Literal["audio", "samples"] = "audio" if features else "samples"
    return DataSet(name, kind, "contrastive", *splits, source, n_classes=1, rate=rate, features=features)


def split_name(name: str) -> tuple[list[str], float]:
    """The sources of such a name, and the seconds of a piece at most."""
    rest, comma, last = name.partition(":")[2].rpartition(",seconds=")
    if not comma:
        rest, last = name.partition(":")[2], str(SECONDS)
    try:
        seconds = float(last)
    except ValueError:
        seconds = 0.0
    if not SHORTEST <= seconds < 1e6:
        raise UserError(f"{name}: seconds={last}: pieces take {SHORTEST:g} s at least; write it like seconds=8")
    sources = [source.strip() for source in rest.split("+")]
    if not all(sources):
        raise UserError(f"{name}: names no source; write it like {PREFIX}my/folder+speechocean762")
    return sources, seconds


def _source(source: str, known: Callable[[str], DataSet], problems: Problems) -> tuple[Parts, int]:
    """The sounds of each part, and their rate."""
    path = str(shared(source, SHARED[source])) if source in SHARED else source
    if path.startswith(HUB) or Path(path).is_dir() or Path(path).suffix in (".jsonl", ".json"):
        found = parted(read_source(path, bare=True), source)
        rate = lowest(found)
        return {part: _sounds([one for one in found if one.split == part], rate, problems) for part in PARTS}, rate
    dataset = known(source)
    assert dataset.rate is not None
    return {part: _heard(getattr(dataset, part)) for part in PARTS}, dataset.rate


def _sounds(ones: Sequence[Utterance], rate: int, problems: Problems) -> Iterator[Tensor]:
    for one in ones:
        with problems.kept(one.where):
            yield one.heard(rate)


def _heard(split: Split) -> Iterator[Tensor]:
    assert isinstance(split.x, Ragged)
    return (split.x.row(i)[:, 0] / FULL for i in range(len(split)))
