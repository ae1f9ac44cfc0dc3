"""Packed: the real frames of a ragged batch one behind the other, so that nothing is computed for padding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lamina.core.seq import Seq

__all__ = ["Packed"]


@dataclass
class Packed(Seq):
    """values [1,N,*C]: N real frames in all, those of row b the next rows[b] ones; every frame is real.

    For layers that look at one frame at a time it is a Seq like any other; who looks at several must keep to the rows.
    It lives between `Packed.pack` and `unpacked` and never crosses an export: N depends on the data.
    """

    rows: tuple[int, ...]
    origin: Tensor  # the mask [B,T] of the batch

    @classmethod
    def pack(cls, x: Seq) -> Packed:
        """The real frames of x [B,T,*C]."""
        index = x.mask.flatten().nonzero().squeeze(1)
        values = x.values.flatten(0, 1).index_select(0, index)[None]
        packed = cls(values, x.mask.new_ones(values.shape[:2]), tuple(x.lengths().tolist()), x.mask)
        packed.dense = True
        return packed

    def with_values(self, values: Tensor, *, finite: bool = False) -> Packed:
        """Other values at the same frames."""
        packed = Packed(values, self.mask, self.rows, self.origin)
        packed.dense, packed.finite = True, finite
        return packed

    def positions(self) -> Tensor:
        """The number of each frame in its own row, [1,N]."""
        return torch.cat([torch.arange(n, device=self.mask.device) for n in self.rows])[None]

    def unpacked(self) -> Seq:
        """Rows of their own again, [B,T,*C], with zeros in the padding."""
        mask = self.origin
        flat = self.values.new_zeros(mask.numel(), *self.values.shape[2:])
        index = mask.flatten().nonzero().squeeze(1)
        return Seq(flat.index_copy(0, index, self.values[0]).unflatten(0, mask.shape), mask).hint(finite=True)
