"""What the tests of structures that hear samples share: short sounds, a small network, folders of WAV files."""

from __future__ import annotations

from pathlib import Path

import soundfile
import torch
from torch import Tensor

from lamina.data import DataSet, Split
from lamina.data.ragged import Ragged
from lamina.data.sounds import whole

RATE = 1000
SMALL = {
    "d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 24, "kernel": 6, "groups": 4, "span": 3, "mask": 0.15,
    "conv_channels": [8, 8], "conv_kernels": [10, 4], "conv_strides": [5, 4],
}  # fmt: skip
CODES = {"n_codes": 8, "d_code": 8, "d_told": 8, "distractors": 10}


def tones(n: int, seed: int = 0, least: int = 400, most: int = 700) -> list[Tensor]:
    """Sounds of a few tones one behind another in a little noise, of unlike lengths."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(n):
        pitches = torch.randint(1, 6, (most // 100,), generator=generator).repeat_interleave(100)
        length = int(torch.randint(least, most + 1, (1,), generator=generator))
        sound = 0.3 * (pitches * 0.25 * torch.arange(len(pitches))).sin()
        found.append((sound + 0.01 * torch.randn(len(sound), generator=generator))[:length])
    return found


def part(sounds: list[Tensor], y: Tensor) -> Split:
    """Sounds as their samples, with what is asked of each."""
    x = Ragged(whole(sounds))
    return Split(x, y, x.lengths)  # type: ignore[arg-type]


def unlabelled(n: int = 24) -> DataSet:
    """Tones to pretrain on."""
    parts = [part(tones(n, seed), torch.zeros(n, dtype=torch.int64)) for seed in range(3)]
    return DataSet("tones", "samples", "contrastive", *parts, "made here", n_classes=1, rate=RATE)


def labelled(n: int = 12) -> DataSet:
    """Tones with rows of two labels."""
    y = torch.stack([torch.arange(n) % 2 + 1, torch.arange(n) % 3 % 2 + 1], 1)
    parts = [part(tones(n, seed), y) for seed in range(3)]
    return DataSet("told", "samples", "ctc", *parts, "made here", n_classes=3, labels=("a", "b"), rate=RATE)


def write(folder: Path, n: int = 40, rate: int = RATE, seconds: float = 1.5) -> Path:
    """A folder of WAV files, one of them below another folder."""
    (folder / "more").mkdir(parents=True)
    for i, sound in enumerate(tones(n, 0, int(seconds * rate), int(seconds * rate))):
        soundfile.write(folder / ("more" if i == 0 else "") / f"{i:02}.wav", sound.numpy(), rate)
    return folder
