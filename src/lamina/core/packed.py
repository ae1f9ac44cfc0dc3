"""Packed: the real frames of a ragged batch one behind the other, so that nothing is computed for padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from lamina.core.seq import Seq

__all__ = ["Packed", "each_length"]


@dataclass
class Packed(Seq):
    """values [1,N,*C]: N real frames in all, those of a row the next rows[i] ones; every frame is real.

    Rows of the same length stand together, so that who looks at several frames of a row takes all of one length at once
    (`each_length`); for who looks at one frame it is a Seq like any other. It lives between `Packed.pack` and
    `unpacked` and never crosses an export: N depends on the data.
    """

    rows: tuple[int, ...]
    index: Tensor  # [N], where each frame stands in the batch's B*T
    origin: Tensor  # the mask [B,T] of the batch

    @classmethod
    def pack(cls, x: Seq, order: Tensor) -> Packed:
        """The real frames of x [B,T,*C], its rows in that order [B], which puts those of the same length together."""
        row, _ = x.mask.nonzero(as_tuple=True)
        index = x.mask.flatten().nonzero().squeeze(1)[order.argsort()[row].argsort(stable=True)]
        values = x.values.flatten(0, 1).index_select(0, index)[None]
        packed = cls(values, x.mask.new_ones(values.shape[:2]), tuple(x.lengths()[order].tolist()), index, x.mask)
        packed.dense = True
        return packed

    def with_values(self, values: Tensor, *, finite: bool = False) -> Packed:
        """Other values at the same frames."""
        packed = Packed(values, self.mask, self.rows, self.index, self.origin)
        packed.dense, packed.finite = True, finite
        return packed

    def positions(self) -> Tensor:
        """The number of each frame in its own row, [1,N]."""
        return torch.cat([torch.arange(n, device=self.mask.device) for n in self.rows])[None]

    def unpacked(self) -> Seq:
        """Rows of their own again, [B,T,*C], with zeros in the padding."""
        mask = self.origin
        flat = self.values.new_zeros(mask.numel(), *self.values.shape[2:])
        return Seq(flat.index_copy(0, self.index, self.values[0]).unflatten(0, mask.shape), mask).hint(finite=True)


def each_length(function: Callable[..., Tensor], *given: tuple[Tensor, tuple[int, ...]]) -> Tensor:
    """function of all rows whose lengths are the same, one length after another.

    given: packed values [1,N,*C] and the lengths of their rows, the same number of rows for each; function takes
    [n,T,*C] of each and gives [n,T,*] of the first -> [1,N,*] of the first.
    """
    runs = [(lengths, len(list(rows))) for lengths, rows in groupby(zip(*(rows for _, rows in given), strict=True))]
    parts = [values[0].split([n * lengths[i] for lengths, n in runs]) for i, (values, _) in enumerate(given)]
    found = [
        function(*(part.unflatten(0, (n, frames)) for part, frames in zip(run, lengths, strict=True))).flatten(0, 1)
        for (lengths, n), run in zip(runs, zip(*parts, strict=True), strict=True)
    ]
    return torch.cat(found)[None]
