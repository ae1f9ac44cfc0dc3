"""Manifests: a list of utterances, one JSON object a line, as NeMo and others write them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamina.core.config import UserError, nearest
from lamina.data.lines import read_text

__all__ = ["PARTS", "Utterance", "read_manifest"]

PARTS = ("train", "dev", "test")


@dataclass(frozen=True)
class Utterance:
    """A line of a manifest: the sound's file, its rate, and what was said (text), or its class (label)."""

    where: str  # "my.jsonl: line 3"
    split: str
    audio: Path
    sr: int | None
    text: str | None
    label: str | None
    speaker: str


def read_manifest(path: str | Path) -> list[Utterance]:
    """The utterances of FILE.jsonl, whose lines hold

        {"split": "train" | "dev" | "test", "audio": "a/1.wav", "text": "..." | "label": ..., ["sr", "speaker", ...]}

    audio counts from the manifest's folder. Every line has a text, or every line a label. Raises UserError, with the
    line, for what is missing.
    """
    path = Path(path)
    lines = read_text(path, "a manifest of one JSON object a line").splitlines()
    found = [_utterance(path, n, line) for n, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise UserError(f"{path}: empty; write one JSON object a line")
    kind = "text" if found[0].text is not None else "label"
    for one in found:
        if getattr(one, kind) is None:
            raise UserError(f'{one.where}: no "{kind}", which the first line has; give every line the same columns')
    for part in PARTS:
        if all(one.split != part for one in found):
            raise UserError(f'{path}: no line has "split": "{part}"; hold some utterances out for each of {PARTS}')
    return found


def _utterance(path: Path, n: int, line: str) -> Utterance:
    where = f"{path}: line {n}"
    try:
        facts = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error}); write one object a line") from None
    if not isinstance(facts, dict):
        raise UserError(f'{where}: not an object; write it like {{"audio": "a.wav", ...}}')
    for key in ("split", "audio"):
        if key not in facts:
            raise UserError(f'{where}: no "{key}"; each line needs split, audio and text or label')
    if facts["split"] not in PARTS:
        raise UserError(f"{where}: {nearest(str(facts['split']), PARTS, 'split')}")
    text, label = facts.get("text"), facts.get("label")
    if text is None and label is None:
        raise UserError(f'{where}: no "text" and no "label"; say what is heard')
    if text is not None and (not isinstance(text, str) or not text.strip()):
        raise UserError(f"{where}: text {text!r} is empty; leave the line out or write what is said")
    return Utterance(
        where,
        str(facts["split"]),
        path.parent / str(facts["audio"]),
        _rate(where, facts.get("sr")),
        None if text is None else " ".join(text.split()),
        None if label is None else str(label),
        str(facts.get("speaker", "")),
    )


def _rate(where: str, sr: Any) -> int | None:
    if sr is None or (isinstance(sr, int) and sr > 0):
        return sr
    raise UserError(f"{where}: sr {sr!r} is no rate; write samples a second, such as 16000")
