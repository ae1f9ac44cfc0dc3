"""Spoken digits as log-mel frames of one length, to make more of (recordings collected since 2016, or eSpeak)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lamina.core import Seq
from lamina.data.dataset import DataSet, Split
from lamina.data.digit_strings import RATE, Clips, levelled, recorded, said
from lamina.data.manifest import PARTS
from lamina.layers import LogMel

__all__ = ["digit_mels"]

FRAMES, N_MELS = 64, 40
TAKES = 2  # of each of eSpeak's voices and accents


def digit_mels(task: Literal["denoise", "adversarial"] = "denoise") -> DataSet:
    """Single digits as 64 frames of 40 log-mel energies, 25 ms every 10 ms at 8 kHz, all equally loud; y says which.

    The recordings of the Free Spoken Digit Dataset where $LAMINA_DATA has fsdd/manifest.jsonl, else digits said by
    eSpeak NG as in espeak_strings, two takes a voice. Shorter ones end in silence, at the floor of the energies; what
    goes beyond 0.65 s is cut. task: how more of them are learnt.
    """
    own = os.environ.get("LAMINA_DATA")
    real = bool(own) and (Path(own or "") / "fsdd" / "manifest.jsonl").is_file()
    clips = recorded() if real else said(0, TAKES)
    train, dev, test = (_split(clips[part]) for part in PARTS)
    told = "Free Spoken Digit Dataset, the same speakers" if real else "synthetic: eSpeak NG, other voices"
    source = f"{told} in each part; {FRAMES} frames of {N_MELS} log-mel energies"
    return DataSet(
        "digit_mels", "audio", task, train, dev, test, source,
        n_classes=10, labels=tuple("0123456789"), rate=RATE,
        title="spoken digits" if real else "synthetic spoken digits",
    )  # fmt: skip


@torch.no_grad()
def _split(clips: Clips) -> Split:
    layer = LogMel(RATE, N_MELS)
    n = FRAMES * layer.stream_spec().block
    rows = [(digit, take) for speaker in clips for digit, takes in enumerate(speaker) for take in takes]
    sounds = torch.stack([_fitted(levelled(sound), n) for _, sound in rows])
    x = torch.cat([layer(Seq.of(some[..., None])).values for some in sounds.split(100)])
    return Split(x, torch.tensor([digit for digit, _ in rows]))


def _fitted(sound: Tensor, n: int) -> Tensor:
    """The first n samples, silence behind them."""
    return torch.nn.functional.pad(sound[:n], (0, max(0, n - len(sound))))
