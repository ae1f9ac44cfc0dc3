"""What the tests of tasks share: ragged sequences whose padding is NaN."""

from __future__ import annotations

import torch

from lamina.data import DataSet, Split


def ragged(task: str = "classify", n: int = 9, frames: int = 7) -> DataSet:
    """Sequences [n,frames,3] of lengths 1..frames with NaN in the padding; three classes, or two numbers."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.arange(n) % frames + 1
    x = torch.randn(n, frames, 3, generator=generator)
    x[torch.arange(frames) >= lengths[:, None]] = float("nan")
    y = torch.arange(n) % 3 if task == "classify" else torch.randn(n, 2, generator=generator)
    split = Split(x, y, lengths)
    kinds = {"n_classes": 3} if task == "classify" else {"d_target": 2}
    return DataSet("ragged", "sequence", task, split, split, split, "made here", **kinds)
