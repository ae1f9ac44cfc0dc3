"""Sound of any length, in blocks: what is held is one block, whatever the file's length."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lamina.core.config import UserError
from lamina.data.audio import SHORT, needs, not_cut
from lamina.data.resampler import Resampler

__all__ = ["SoundFile"]


class SoundFile:
    """A file to be heard once, from its beginning: what libsndfile reads (WAV, FLAC, Ogg Vorbis and Opus, MP3).

    seconds: its length as its header has it. Raises UserError for a file that is missing, empty, no sound or cut off;
    `blocks` for one that turns out so further on, or holds NaN.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"{path}: no such file; correct the path")
        self.library = needs("soundfile", f"reading {self.path.name}")
        try:
            with self.library.SoundFile(self.path) as file:
                self.rate, self.frames = int(file.samplerate), int(file.frames)
        except (self.library.SoundFileError, OSError) as error:
            raise UserError(f"{path}: cannot be read as sound ({error}); convert it to WAV or FLAC") from None
        self.seconds = self.frames / self.rate
        not_cut(str(path), self.path, self.seconds, None)
        if not self.frames:
            raise UserError(f"{path}: holds no sample")

    def blocks(self, rate: int, seconds: float) -> Iterator[Tensor]:
        """Its samples in -1..1 at `rate` Hz, channels averaged, about so many seconds at a time: [n] float32."""
        resampler, heard = Resampler(self.rate, rate), 0
        try:
            with self.library.SoundFile(self.path) as file:
                # else it seeks behind every block, and MP3 loses the bits that a frame keeps in the one before it
                file.seekable = lambda: False
                while len(block := file.read(max(1, round(seconds * self.rate)), dtype="float32", always_2d=True)):
                    bad = np.flatnonzero(~np.isfinite(block).all(1))
                    if len(bad):
                        at = (heard + bad[0]) / self.rate
                        raise UserError(f"{self.path}: holds NaN or inf at {at:.3f} s; convert it again")
                    heard += len(block)
                    yield torch.from_numpy(resampler.push(block.mean(1)))
        except (self.library.SoundFileError, OSError) as error:
            raise UserError(f"{self.path}: cannot be read beyond {heard / self.rate:.1f} s ({error}); "
                            "fetch or convert it again") from None  # fmt: skip
        if heard < self.frames - SHORT * self.rate:
            raise UserError(f"{self.path}: ends at {heard / self.rate:.2f} s of the {self.seconds:.2f} that it says; "
                            "fetch it again")  # fmt: skip
        yield torch.from_numpy(resampler.finish())
