"""A manifest of tones, small enough to train on in a test."""

from __future__ import annotations

import json
import math
from pathlib import Path

import soundfile
import torch

RATE = 8000
HEIGHTS = {"a": 400, "b": 900, "c": 1600, " ": 0}
TEXTS = ("ab cab", "b ab", "cab a")


def tones(folder: Path, labels: bool = False) -> Path:
    """Nine utterances of TEXTS, three a part, a tone of 0.2 s for each letter. labels: a class each, no text."""
    lines, t = [], torch.arange(RATE // 5) / RATE
    for i, (split, text) in enumerate([(s, t) for s in ("train", "dev", "test") for t in TEXTS]):
        sound = torch.cat([0.3 * torch.sin(2 * math.pi * HEIGHTS[c] * t) for c in text])
        soundfile.write(folder / f"{i}.wav", sound.numpy(), RATE)
        said = {"label": f"word{i % 3}"} if labels else {"text": text}
        lines.append({"split": split, "audio": f"{i}.wav", "sr": RATE, "speaker": "s", **said})
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
