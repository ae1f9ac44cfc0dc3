"""eSpeak NG: words said by its voices, from the library that the package espeakng-loader brings."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lamina.core.config import UserError
from lamina.data.audio import needs

__all__ = ["Voice", "say"]

QUIET = 3  # of 32768: what is not louder at the ends is silence


@dataclass(frozen=True)
class Voice:
    """A speaker: the accent and variant of eSpeak's voice ("en-us+f2"), words a minute, pitch 0..99."""

    name: str
    speed: int = 160
    pitch: int = 50


def say(lines: Sequence[tuple[str, Voice]]) -> tuple[list[Tensor], int]:
    """The samples [n] float32 in -1..1 of each text said by its voice, without the silence around them, and their rate.

    The same lines give the same samples. So they are said in a process of their own: the library keeps the phase of
    its waves from one call to the next, and nothing sets it back. Raises UserError where the library is not installed,
    a voice is unknown or a text holds no words.
    """
    loader = needs("espeakng_loader", "synthesised speech")
    asked = {
        "library": loader.get_library_path(),
        "data": str(loader.get_data_path()),
        "lines": [[text, *astuple(voice)] for text, voice in lines],
    }
    script = Path(__file__).with_name("_espeak.py")
    process = subprocess.run([sys.executable, "-I", script], input=json.dumps(asked).encode(), capture_output=True)
    if process.returncode:
        said = process.stderr.decode(errors="replace").strip().splitlines()
        raise UserError(f"eSpeak NG: {said[-1] if said else f'its process ended with {process.returncode}'}")
    words = np.frombuffer(process.stdout, "<i2")
    rate, at = _whole(words, 0), 2
    found = []
    for text, _ in lines:
        n = _whole(words, at)
        found.append(_trimmed(text, words[at + 2 : at + 2 + n]))
        at += 2 + n
    return found, rate


def _whole(words: np.ndarray, at: int) -> int:
    """The int32 that lies in two int16."""
    return int(words[at : at + 2].view("<i4")[0])


def _trimmed(text: str, samples: np.ndarray) -> Tensor:
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > QUIET)
    if not len(loud):
        raise UserError(f"eSpeak NG says nothing for {text!r}; give it words")
    return torch.from_numpy(samples[loud[0] : loud[-1] + 1].astype(np.float32) / 32768)
