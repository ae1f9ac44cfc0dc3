"""What the tests of recognisers share: a small run that hears many labels, and sounds for it."""

from __future__ import annotations

import json
from pathlib import Path

import soundfile
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lamina import data
from lamina.train import Order, train_run

RATE = 8000


def sound(seed: int, seconds: float = 1.5, rate: int = RATE) -> Tensor:
    """Noise whose loudness wanders."""
    g = torch.Generator().manual_seed(seed)
    n = round(seconds * rate)
    loud = torch.nn.functional.interpolate(torch.rand(1, 1, 12, generator=g), n, mode="linear")[0, 0]
    return (0.3 * loud.square() * torch.randn(n, generator=g)).clamp(-1, 1)


def random_run(folder: Path, model: str = "attention_lstm", **keys: int | str | None) -> Path:
    """A run of random weights on six utterances; its texts mean nothing, and change all the time."""
    lines = []
    for i, split in enumerate(("train", "train", "dev", "dev", "test", "test")):
        soundfile.write(folder / f"{i}.wav", sound(i, 0.9).numpy(), RATE)
        lines.append({"split": split, "audio": f"{i}.wav", "text": "abc de f", "speaker": "a"})
    manifest = folder / "mine.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    small = {"d_model": 16, "d_ff": 16, "n_heads": 2, **keys}
    train_run(Order(model, small, str(manifest), steps=1, batch_size=2), data.load(str(manifest)), folder / "run")
    around = load_file(folder / "run" / "task.safetensors")
    generator = torch.Generator().manual_seed(0)
    for name in ("stem.linear.weight", "head.weight"):
        around[name] = torch.randn(around[name].shape, generator=generator)
    save_file(around, folder / "run" / "task.safetensors")
    return folder / "run"
