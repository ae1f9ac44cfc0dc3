"""Hearing: the options of every set of sounds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lamina.core.config import UserError
from lamina.data.features import Features
from lamina.data.sounds import Samples
from lamina.data.vary import Backgrounds, Masks, drawn, in_room, with_noise

__all__ = ["Hearing"]

OF_FRAMES = ("mels", "stack", "norm", "masks")


@dataclass(frozen=True)
class Hearing:
    """How sounds become frames, and how those of the training part are varied; options of every set of sounds.

    mels, stack and norm: of `Features`. speed: the training part once at each of these speeds, in percent, such as
    90+100+110. noise: each training utterance gets noise at one of these ratios of powers in dB, drawn at random; from
    100 on, none: 100+20+10+5. rooms: the share of them that is heard in a room. noises: a folder or manifest of noises,
    and of impulse responses in a folder called rir or rooms (see `read_backgrounds`); without it noise is white. masks:
    so many spans of bands and of frames are hidden at every step (`Masks`). What is drawn hangs on a fixed seed.
    """

    mels: int = 40
    stack: int = 4
    norm: float = 0.0
    speed: tuple[int, ...] = (100,)
    noise: tuple[int, ...] = ()
    rooms: float = 0.0
    noises: Path | None = None
    masks: int = 0
    samples: bool = False  # no option but of what "samples:NAME" loads

    def __post_init__(self) -> None:
        if not self.speed or min(self.speed) < 50 or max(self.speed) > 200:
            raise UserError(f"speed={'+'.join(map(str, self.speed))}: percent, 50 to 200, such as 90+100+110")
        if not 0 <= self.norm <= 1 or not 0 <= self.rooms <= 1:
            raise UserError(f"norm={self.norm:g} and rooms={self.rooms:g} must lie in 0..1")
        if self.mels < 1 or self.stack < 1:
            raise UserError(f"mels={self.mels} and stack={self.stack} must be at least 1")
        for key in OF_FRAMES if self.samples else ():
            if (value := getattr(self, key)) != getattr(type(self), key):
                raise UserError(f"{key}={value}: is of log-mel frames, and samples are heard as they are; leave it out")
        if self.rooms and self.noises is None:
            raise UserError(f"rooms={self.rooms:g} needs impulse responses; say where: noises=FOLDER")

    def features(self, rate: int) -> Features | Samples:
        """What makes frames of sounds at that rate."""
        return Samples(rate) if self.samples else Features(rate, self.mels, self.stack, self.norm)

    def varied(
        self, sound: Tensor, backgrounds: Backgrounds, generator: torch.Generator, snr: int | None = None
    ) -> Tensor:
        """A training sound [n] in a room, with noise, or as it is. snr: of the white noise under it where `noise` says
        nothing.
        """
        if (self.rooms or self.noise) and float(torch.rand((), generator=generator)) < self.rooms:
            response = backgrounds.room(generator)
            sound = sound if response is None else in_room(sound, response)
        if self.noise:
            ratio = self.noise[drawn(0, len(self.noise), generator)]
            return with_noise(sound, backgrounds.noise(len(sound), generator), ratio)
        return sound if snr is None else with_noise(sound, torch.randn(len(sound), generator=generator), snr)

    def told(self) -> str:
        """What training sounds are varied by, as part of a sentence; "" where they are as they were."""
        said = [f"at {'+'.join(map(str, self.speed))} % of their speed"] if self.speed != (100,) else []
        said += [f"noise at {'+'.join(map(str, self.noise))} dB"] if self.noise else []
        said += [f"{self.rooms:g} in rooms"] if self.rooms else []
        of = f" ({self.noises.name})" if self.noises else ""
        return f"; to learn from: {', '.join(said)}{of}" if said else ""

    def hidden(self) -> Masks | None:
        """What hides parts of the features in training."""
        return Masks(self.masks, self.mels) if self.masks else None
