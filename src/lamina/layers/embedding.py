"""Token ids to vectors."""

from __future__ import annotations

import torch
from torch import nn

from lamina.core import Pointwise, Seq

__all__ = ["Embedding"]


class Embedding(Pointwise):
    """y = table[token]. Token ids [B,T] in 0..n_vocab-1 -> [B,T,d_model], no state.

    Absent frames may hold any integer.
    """

    def __init__(self, n_vocab: int, d_model: int) -> None:
        super().__init__()
        self.d_in, self.d_out, self.n_vocab = (), d_model, n_vocab
        self.table = nn.Embedding(n_vocab, d_model)
        # the width of a frame stays near 1 whatever d_model, as the Linear in front of other data gives
        nn.init.normal_(self.table.weight, std=1.0 / d_model**0.5)

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        if x.values.dtype not in (torch.int64, torch.int32):
            raise TypeError(f"Embedding takes token ids (int64 or int32), not {x.values.dtype}")
        return x.with_values(self.table(x.zeroed()))
