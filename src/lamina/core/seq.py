"""Seq: a batch of streams, values with a mask of the real frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Seq"]


@dataclass
class Seq:
    """A batch of streams: values [B,T,*C] and mask [B,T] (True = a real frame).

    The real frames of a row are one contiguous run: in forward they start at 0 (right padding); in step they may
    start late (a delayed layer warming up) or end early (flush). Values at absent frames are undefined and may be
    NaN (for tokens: any integer, also out of range), so every layer with weights reads `zeroed()`.

    `dense` (no absent frame) and `finite` (absent frames hold zeros) are hints outside the pytree:
    losing them, as torch.export does, costs speed only.
    """

    values: Tensor
    mask: Tensor

    # plain attributes, not fields: dataclass fields would enter the pytree
    dense = False
    finite = False

    @staticmethod
    def of(values: Tensor) -> Seq:
        """A Seq whose every frame is real."""
        return Seq(values, values.new_ones(values.shape[:2], dtype=torch.bool)).hint(dense=True)

    @staticmethod
    def ragged(values: Tensor, lengths: Tensor) -> Seq:
        """Right-padded rows: frame t of row b is real where t < lengths[b]. values [B,T,*C], lengths [B]."""
        t = torch.arange(values.shape[1], device=values.device)
        return Seq(values, t < lengths.to(values.device)[:, None])

    @staticmethod
    def absent(batch: int, frames: int, channels: tuple[int, ...], like: Tensor) -> Seq:
        """Absent frames, as zeros: what a stream is fed when there is nothing to say."""
        values = like.new_zeros(batch, frames, *channels)
        return Seq(values, values.new_zeros((batch, frames), dtype=torch.bool)).hint(finite=True)

    def hint(self, *, dense: bool = False, finite: bool = False) -> Seq:
        self.dense, self.finite = dense, finite
        return self

    def lengths(self) -> Tensor:
        """Real frames of each row, [B]."""
        return self.mask.sum(1)

    def zeroed(self) -> Tensor:
        """Values with absent frames set to zero by selection: NaN * 0 would stay NaN."""
        if self.dense or self.finite:
            return self.values
        return torch.where(self.expand_mask(), self.values, self.values.new_zeros(()))

    def expand_mask(self) -> Tensor:
        """The mask with as many dimensions as the values: [B,T,1,...]."""
        return self.mask.reshape(self.mask.shape + (1,) * (self.values.dim() - 2))

    def with_values(self, values: Tensor, *, finite: bool = False) -> Seq:
        """Other values at the same frames."""
        return Seq(values, self.mask).hint(dense=self.dense, finite=finite)

    def slice(self, start: int, stop: int) -> Seq:
        """Frames start..stop-1 of every row."""
        return Seq(self.values[:, start:stop], self.mask[:, start:stop]).hint(dense=self.dense, finite=self.finite)

    @staticmethod
    def cat(parts: list[Seq]) -> Seq:
        """Join along time."""
        joined = Seq(torch.cat([p.values for p in parts], 1), torch.cat([p.mask for p in parts], 1))
        return joined.hint(dense=all(p.dense for p in parts), finite=all(p.dense or p.finite for p in parts))


torch.export.register_dataclass(Seq, serialized_type_name="lamina.Seq")
