"""Features: what every structure hears of a sound, computed by the layers that would compute it in a stream."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from lamina.core import Seq, Serial
from lamina.core.config import UserError
from lamina.layers import Frames, LogMel

__all__ = ["Features", "padded"]


@dataclass(frozen=True)
class Features:
    """Log-mel energies of 25 ms every 10 ms, then `stack` frames side by side as one (Sak et al. 2015,
    arXiv:1507.06947): stack=4 gives 25 frames a second to every structure alike.

    An utterance of n samples -> [T,stack*n_mels]. `layer()` is the same as a streaming layer.
    """

    rate: int
    n_mels: int = 40
    stack: int = 4

    def layer(self) -> Serial:
        """[B,n,1] samples -> [B,T,stack*n_mels]; block hop * stack samples."""
        try:
            return Serial(LogMel(self.rate, self.n_mels), Frames(self.n_mels, self.stack, self.stack))
        except ValueError as error:
            raise UserError(f"features at {self.rate} Hz: {error}") from None

    @property
    def width(self) -> int:
        return self.stack * self.n_mels

    @torch.no_grad()
    def __call__(self, sounds: Iterable[Tensor]) -> list[Tensor]:
        """Each sound [n] as frames [T,width] float32; T is 0 where it is shorter than one."""
        layer = self.layer()
        return [layer(Seq.of(sound[None, :, None])).values[0] for sound in sounds]


def padded(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows [T_i,D] as x [N,T,D], zeros behind their ends, and lengths [N]."""
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])
