"""Manifests: a list of utterances, one JSON object a line, as NeMo and others write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lamina.core.config import UserError, nearest
from lamina.data.audio import read_audio
from lamina.data.lines import read_text
from lamina.data.problems import Problems

__all__ = ["PARTS", "Utterance", "parted", "read_manifest"]

PARTS = ("train", "dev", "test")
ALSO = {"valid": "dev", "validation": "dev", "val": "dev"}  # others' words for a part
HELD = 0.1  # of the utterances, or of the speakers: dev and test where nothing says which they are
SPEAKERS = 10  # from so many on, no speaker is in two parts


@dataclass(frozen=True)
class Utterance:
    """A sound, and what was said in it (text), or its class (label); or neither, to listen to alone.

    audio: the file, or its bytes. sr, channels and whole (seconds) are what is said of the file, to be checked. start
    and seconds: the part of it that is meant; None to its end.
    """

    where: str  # "my.jsonl: line 3"
    split: str
    audio: Path | bytes
    sr: int | None = None
    text: str | None = None
    label: str | None = None
    speaker: str = ""
    channels: int | None = None
    whole: float | None = None
    start: float = 0.0
    seconds: float | None = None

    def heard(self, rate: int) -> Tensor:
        """Its samples at that rate, [n]; UserError where the file is not what was said of it."""
        return read_audio(self.audio, rate, self.sr, channels=self.channels, start=self.start, seconds=self.seconds,
                          whole=self.whole)[0]  # fmt: skip


def read_manifest(path: str | Path, *, bare: bool = False) -> list[Utterance]:
    """The utterances of FILE.jsonl, whose lines hold

        {"split": "train" | "dev" | "test", "audio": "a/1.wav", "text": "..." | "label": ..., ["sr", "speaker", ...]}

    or NeMo's keys {"audio_filepath", "duration", "text", ["offset"]}; audio counts from the manifest's folder. Where no
    line has a split and the file's name holds "train", dev and test are files beside it of the same name but for that
    word (dev, val, valid or validation; test), else some are held out (`parted`). Every line has a text, or every line
    a label; bare: neither is read. Raises UserError that names the lines with what is missing.
    """
    path = Path(path)
    problems = Problems(str(path))
    found = _lines(path, bare, problems)
    if found and not any(one.split for one in found) and "train" in path.name:
        found = [replace(one, split="train") for one in found]
        for part, words in (("dev", ("dev", *ALSO)), ("test", ("test",))):
            beside = (path.with_name(path.name.replace("train", word)) for word in words)
            other = next((file for file in beside if file.is_file()), None)
            found += [] if other is None else [replace(one, split=part) for one in _lines(other, bare, problems)]
    problems.told()
    if not found:
        raise UserError(f"{path}: empty; write one JSON object a line")
    if bare:
        return found
    kind = "text" if found[0].text is not None else "label"
    for one in found:
        with problems.kept():
            if getattr(one, kind) is None:
                raise UserError(f'{one.where}: no "{kind}", which the first line has; give every line the same columns')
    problems.told()
    return parted(found, str(path))


def parted(found: Sequence[Utterance], where: str) -> list[Utterance]:
    """The utterances, each in a part. Where none says which, or all are of train, a tenth becomes dev and a tenth test
    by a fixed seed, of the speakers where there are ten; where only dev is missing, a tenth of train.
    """
    named = {one.split for one in found}
    if "" in named and len(named) > 1:
        first = next(one for one in found if not one.split)
        raise UserError(f'{first.where}: no "split", which other lines have; give it to all or none')
    if named in ({""}, {"train"}):
        return _held(list(found), ("dev", "test"), where)
    if named == {"train", "test"}:
        train = [one for one in found if one.split == "train"]
        return _held(train, ("dev",), where) + [one for one in found if one.split == "test"]
    for part in PARTS:
        if part not in named:
            raise UserError(f'{where}: no line has "split": "{part}"; hold some utterances out for each of {PARTS}')
    return list(found)


def _held(found: list[Utterance], parts: Sequence[str], where: str) -> list[Utterance]:
    """The utterances, of which a tenth goes to each of these parts, the rest to train."""
    speakers = sorted({one.speaker for one in found})
    keys = [one.speaker for one in found] if len(speakers) >= SPEAKERS else [str(i) for i in range(len(found))]
    groups = sorted(set(keys))
    if len(groups) <= len(parts):
        raise UserError(f"{where}: {len(found)} utterances are too few to hold any out; say the split of each")
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(0)).tolist()
    each = max(1, round(HELD * len(groups)))
    part_of = {groups[g]: parts[i // each] if i < each * len(parts) else "train" for i, g in enumerate(order)}
    return [replace(one, split=part_of[key]) for one, key in zip(found, keys, strict=True)]


def _lines(path: Path, bare: bool, problems: Problems) -> list[Utterance]:
    found = []
    for n, line in enumerate(read_text(path, "a manifest of one JSON object a line").splitlines(), 1):
        with problems.kept():
            if line.strip():
                found.append(_utterance(path, f"{path}: line {n}", line, bare))
    return found


def _utterance(path: Path, where: str, line: str, bare: bool) -> Utterance:
    try:
        facts = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error}); write one object a line") from None
    if not isinstance(facts, dict):
        raise UserError(f'{where}: not an object; write it like {{"audio": "a.wav", ...}}')
    audio = facts.get("audio", facts.get("audio_filepath"))
    if not isinstance(audio, str) or not audio:
        raise UserError(f'{where}: no "audio"; each line needs the path of a sound, and text or label')
    split, speaker = ("" if facts.get(key) is None else str(facts[key]) for key in ("split", "speaker"))
    split = ALSO.get(split, split)
    if split not in ("", *PARTS):
        raise UserError(f"{where}: {nearest(split, PARTS, 'split')}")
    text, label = (None, None) if bare else (facts.get("text"), facts.get("label"))
    if text is None and label is None and not bare:
        raise UserError(f'{where}: no "text" and no "label"; say what is heard')
    if text is not None and (not isinstance(text, str) or not text.strip()):
        raise UserError(f"{where}: text {text!r} is empty; leave the line out or write what is said")
    length, part = (_seconds(where, facts, key) for key in ("duration", "offset"))
    return Utterance(
        where, split, path.parent / audio, _whole(where, facts, "sr", "samples a second, such as 16000"),
        None if text is None else " ".join(text.split()),
        None if label is None else str(label),
        speaker,
        _whole(where, facts, "channels", "1 or 2"),
        length if part is None else None, part or 0.0, None if part is None else length,
    )  # fmt: skip


def _whole(where: str, facts: dict[str, Any], key: str, like: str) -> int | None:
    n = facts.get(key)
    if n is None or (isinstance(n, int) and n > 0):
        return n
    raise UserError(f"{where}: {key} {n!r} is no {'rate' if key == 'sr' else 'count'}; write {like}")


def _seconds(where: str, facts: dict[str, Any], key: str) -> float | None:
    n = facts.get(key)
    if n is None or (isinstance(n, int | float) and 0 <= n < float("inf") and (n or key == "offset")):
        return n
    raise UserError(f"{where}: {key} {n!r} is no length of time; write seconds, such as 2.5")
