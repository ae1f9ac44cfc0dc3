"""What the tests of CTC's decoders share: random frames, and the probability of every labelling from every path."""

from __future__ import annotations

from itertools import groupby, product

import torch
from torch import Tensor


def log_p(frames: int, n_out: int, seed: int = 0, sharp: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (sharp * torch.randn(frames, n_out, generator=generator, dtype=torch.float64)).log_softmax(-1)


def by_enumeration(rows: Tensor) -> dict[tuple[int, ...], float]:
    """The probability of every labelling."""
    p, found = rows.exp().tolist(), dict[tuple[int, ...], float]()
    for path in product(range(rows.shape[1]), repeat=len(rows)):
        labels, one = tuple(label for label, _ in groupby(path) if label), 1.0
        for t, label in enumerate(path):
            one *= p[t][label]
        found[labels] = found.get(labels, 0.0) + one
    return found
