"""Speech without its text, to pretrain on: data sets by name, manifests, and folders of sounds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from torch import Tensor

from lamina.core.config import UserError
from lamina.data.audio import read_audio, resampled
from lamina.data.dataset import DataSet
from lamina.data.lines import read_text
from lamina.data.manifest import PARTS
from lamina.data.shared import shared
from lamina.data.sounds import FULL, Sounds, pieces

__all__ = ["PREFIX", "split_name", "unlabelled"]

PREFIX = "unlabelled:"
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
SHARED = {"librispeech_unlabelled": "librispeech_unlabelled/manifest.jsonl"}  # one utterance of each of 251 speakers
SECONDS, SHORTEST = 8.0, 1.0  # of a piece
HELD = 20  # of a source without parts, every so many sounds are held out twice, to choose and to judge by
WIDEST = 16000  # Hz
File = tuple[Path, int | None, str]  # a sound, the rate that is said of it, its part
Parts = dict[str, Iterable[Tensor]]  # read one by one: hours of samples are held once, as 16 bit


def unlabelled(name: str, known: Callable[[str], DataSet]) -> DataSet:
    """ "unlabelled:A+B,seconds=8": the sounds of A and of B, in pieces of at most so many seconds, without a label.

    A source is a folder with sounds in it, a manifest FILE.jsonl ({"audio", ["split", "sr"]} a line), the name
    librispeech_unlabelled (below $LAMINA_DATA), or any set of speech by its name, whose parts stay what they are; known
    gives its samples. A source without parts has every 20th sound held out for dev and every 20th for test. All are
    heard at the lowest rate, 16 kHz at most; pieces shorter than a second are left out.
    """
    sources, seconds = split_name(name)
    found = [_source(source, known) for source in sources]
    rate = min(rate for _, rate in found)
    parts: dict[str, Sounds] = {}
    for part in PARTS:
        sounds = (resampled(sound, own, rate) for parted, own in found for sound in parted[part])
        parts[part] = Sounds.of(pieces(sounds, round(seconds * rate), round(SHORTEST * rate)))
        if not len(parts[part]):
            raise UserError(f"{name}: {part}: no sound of a second or more; give more of them, some twenty at least")
    minutes = sum(len(split.x) for split in parts.values()) / rate / 60
    source = f"{' and '.join(Path(s).name for s in sources)}: {minutes:.0f} min in pieces, at {rate} Hz, without text"
    return DataSet(name, "samples", "contrastive", parts["train"], parts["dev"], parts["test"], source,
                   n_classes=1, rate=rate)  # fmt: skip


def split_name(name: str) -> tuple[list[str], float]:
    """The sources of such a name, and the seconds of a piece at most."""
    rest, comma, last = name.removeprefix(PREFIX).rpartition(",seconds=")
    if not comma:
        rest, last = name.removeprefix(PREFIX), str(SECONDS)
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


def _source(source: str, known: Callable[[str], DataSet]) -> tuple[Parts, int]:
    """The sounds of each part, and their rate."""
    path = shared(source, SHARED[source]) if source in SHARED else Path(source)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not files:
            raise UserError(f"{path}: holds no sound; give a folder with files that end in {', '.join(SUFFIXES)}")
        return _read([(file, None, "") for file in files])
    if path.suffix == ".jsonl":
        lines = read_text(path, "a manifest of one JSON object a line").splitlines()
        listed = [_line(path, n, line) for n, line in enumerate(lines, 1) if line.strip()]
        if not listed:
            raise UserError(f"{path}: empty; write one JSON object a line")
        return _read(listed)
    dataset = known(source)
    parts = {part: getattr(dataset, part) for part in PARTS}
    assert dataset.rate is not None
    return {part: _heard(split) for part, split in parts.items()}, dataset.rate


def _heard(split: Sounds) -> Iterator[Tensor]:
    return (split.sound(row) / FULL for row in range(len(split)))


def _line(path: Path, n: int, line: str) -> File:
    where = f"{path}: line {n}"
    try:
        facts = json.loads(line)
        audio, sr, split = path.parent / str(facts["audio"]), facts.get("sr"), str(facts.get("split", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f'{where}: no JSON object with "audio"; write it like {{"audio": "a.wav"}}') from None
    if split and split not in PARTS:
        raise UserError(f"{where}: split {split!r} is none of {', '.join(PARTS)}; correct it, or leave it out")
    return audio, sr, split


def _read(files: Sequence[File]) -> tuple[Parts, int]:
    """The sounds of the files by part; those of train alone are parted here."""
    missing = [str(file) for file, *_ in files if not file.is_file()]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise UserError(f"no such files: {', '.join(missing[:5])}{more}; correct the paths, or leave the lines out")
    rate = min(WIDEST, files[0][1] or read_audio(files[0][0])[1])
    parts: dict[str, list[File]] = {part: [] for part in PARTS}
    alone = all(split in ("", "train") for *_, split in files)
    for i, file in enumerate(files):
        held = {HELD // 2: "dev", HELD - 1: "test"}.get(i % HELD, "train")
        parts[held if alone else file[2] or "train"].append(file)
    return {part: _sounds(some, rate) for part, some in parts.items()}, rate


def _sounds(files: Sequence[File], rate: int) -> Iterator[Tensor]:
    return (read_audio(file, rate, said)[0] for file, said, _ in files)
