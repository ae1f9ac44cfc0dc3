"""Variation of what is learned from: masks over features, speed, rooms and noise; each from a seed alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

import torch
from torch import Tensor

from lamina.data.audio import resampled

__all__ = ["CLEAN", "Backgrounds", "Masks", "drawn", "faster", "in_room", "with_noise"]

CLEAN = 100  # dB and more: no noise


@dataclass(frozen=True)
class Masks:
    """SpecAugment without its warping (Park et al. 2019, arXiv:1904.08779): n spans of bands, n spans of frames.

    Each span of bands is 0..BANDS of them wide, each span of frames 0..FRAMES of a row long, both drawn anew at every
    step; what is hidden becomes the mean of the features. Frames of `stack` times `n_mels` values lose the same bands
    in each.
    """

    n: int
    n_mels: int

    BANDS = 27 / 80  # the paper's F of its 80 bands
    FRAMES = 0.1  # of a row: in the paper's T = 100 of some 1,200 frames, short rows keep their words

    def __call__(self, batch: dict[str, Tensor], mean: float, generator: torch.Generator) -> dict[str, Tensor]:
        """The batch {"x" [B,T,stack*n_mels], ["lengths"], ...} with parts of x hidden."""
        x = batch["x"]
        rows, frames, width = x.shape
        lengths = batch.get("lengths", torch.full((rows,), frames))
        bands = self._spans(torch.full((rows,), self.n_mels), self.BANDS, self.n_mels, generator)
        times = self._spans(lengths, self.FRAMES, frames, generator)
        hidden = times[:, :, None] | bands.repeat(1, width // self.n_mels)[:, None, :]
        return {**batch, "x": x.masked_fill(hidden, mean)}

    def _spans(self, lengths: Tensor, share: float, frames: int, generator: torch.Generator) -> Tensor:
        """True in n spans of each row, each at most that share of its length and wholly inside: [B,frames] bool."""
        size = lengths[:, None]
        widths = (torch.rand(len(lengths), self.n, generator=generator) * ((share * size).floor() + 1)).floor()
        starts = (torch.rand(len(lengths), self.n, generator=generator) * (size - widths + 1)).floor()
        t = torch.arange(frames)
        return ((t >= starts[..., None]) & (t < (starts + widths)[..., None])).any(1)


@dataclass(frozen=True)
class Backgrounds:
    """Noises [n] and impulse responses of rooms [n] at one rate; where there is no noise, white noise is made."""

    noises: tuple[Tensor, ...] = field(default=(), repr=False)
    rooms: tuple[Tensor, ...] = field(default=(), repr=False)
    source: Path | None = None

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        """n samples of one of the noises, from a random place on and again from its beginning where it ends."""
        if not self.noises:
            return torch.randn(n, generator=generator)
        noise = self.noises[drawn(0, len(self.noises), generator)]
        start = drawn(0, len(noise), generator)
        return noise.repeat(ceil((start + n) / len(noise)))[start : start + n]

    def room(self, generator: torch.Generator) -> Tensor | None:
        """The impulse response of one of the rooms, None where there is none."""
        return self.rooms[drawn(0, len(self.rooms), generator)] if self.rooms else None


def drawn(low: int, high: int, generator: torch.Generator) -> int:
    """A whole number, low <= n < high."""
    return int(torch.randint(low, high, (1,), generator=generator))


def faster(sound: Tensor, percent: int) -> Tensor:
    """The sound [n] at percent / 100 of its speed, its pitch with it (Ko et al. 2015): [n * 100 / percent]."""
    return sound if percent == 100 else resampled(sound, percent, 100)


def in_room(sound: Tensor, response: Tensor) -> Tensor:
    """The sound [n] as it is heard in a room with that impulse response [k], by FFT; as loud and as long as before.

    The direct sound, the response's largest tap, stays where it was, so that nothing is said later.
    """
    n, direct = len(sound), int(response.abs().argmax())
    size = n + len(response) - 1
    wet = torch.fft.irfft(torch.fft.rfft(sound, size) * torch.fft.rfft(response, size), size)[direct : direct + n]
    return wet * (_power(sound) / _power(wet).clamp(min=1e-20)).sqrt()


def with_noise(sound: Tensor, noise: Tensor, snr: float) -> Tensor:
    """The sound [n] and noise [n] whose power lies snr dB below its own; from CLEAN on the sound alone."""
    if snr >= CLEAN:
        return sound
    return sound + noise * (_power(sound) / _power(noise).clamp(min=1e-20) * 10 ** (-snr / 10)).sqrt()


def _power(sound: Tensor) -> Tensor:
    return sound.square().mean()
