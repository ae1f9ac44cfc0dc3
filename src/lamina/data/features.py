"""Features: what every structure hears of a sound, computed by the layers that would compute it in a stream."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from lamina.core import Layer, Seq, Serial
from lamina.core.config import UserError
from lamina.layers import Frames, LogMel, RunningNorm

__all__ = ["Features"]

# of log-mel energies of speech in -1..1: what a running norm expects until it has heard some
PRIOR, MEAN, DEVIATION = 10.0, -6.0, 4.0


@dataclass(frozen=True)
class Features:
    """Log-mel energies of 25 ms every 10 ms, then `stack` frames side by side as one (Sak et al. 2015,
    arXiv:1507.06947): stack=4 gives 25 frames a second to every structure alike.

    norm > 0: each band minus its running mean, over its running deviation, which forget what is k frames back by
    norm**k (1: nothing); see `RunningNorm`. An utterance of n samples -> [T,stack*n_mels]; a last frame that is not
    whole is left out. `layer()` is the same as a streaming layer.
    """

    rate: int
    n_mels: int = 40
    stack: int = 4
    norm: float = 0.0

    def layer(self) -> Serial:
        """[B,n,1] samples -> [B,T,stack*n_mels]; block hop * stack samples, no delay."""
        try:
            layers: list[Layer] = [LogMel(self.rate, self.n_mels)]
            if self.norm:
                layers.append(RunningNorm(self.n_mels, self.norm, PRIOR, MEAN, DEVIATION))
            return Serial(*layers, Frames(self.n_mels, self.stack, self.stack, "valid"))
        except ValueError as error:
            raise UserError(f"features at {self.rate} Hz: {error}") from None

    @property
    def width(self) -> int:
        return self.stack * self.n_mels

    @property
    def seconds(self) -> float:
        """Of sound that a frame stands for."""
        return self.stack * 0.01

    def frames(self, n: int) -> int:
        """Frames of n samples."""
        return -(-n // round(self.rate / 100)) // self.stack

    @torch.no_grad()
    def __call__(self, sounds: Iterable[Tensor]) -> list[Tensor]:
        """Each sound [n] as frames [T,width] float32; T is 0 where it is shorter than one. One is held at a time."""
        layer = self.layer()
        return [layer(Seq.of(sound[None, :, None])).values[0] for sound in sounds]
