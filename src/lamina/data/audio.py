"""Sound: one file read into samples at a given rate, and the packages that it takes."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from lamina.core.config import UserError

__all__ = ["needs", "read_audio", "resampled"]

EXTRA = "pip install 'lamina[speech]'"


def needs(module: str, what: str) -> ModuleType:
    """A module of the extra `speech`; without it a UserError that says what needs it and how to install it."""
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: the package is there, the library under it is not
        raise UserError(f"{what} needs {module} ({error}); run: {EXTRA}") from None


def read_audio(path: str | Path, rate: int | None = None, said: int | None = None) -> tuple[Tensor, int]:
    """A file's samples in -1..1, its channels averaged, at `rate` Hz (None: the file's own): [n] float32, and the rate.

    WAV, FLAC, Ogg Vorbis and Opus, MP3: what libsndfile reads. said: the rate that a manifest gives for the file.
    Raises UserError for a file that is missing, empty, no sound, not finite, or at another rate than was said.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; correct the path, or leave it out of the manifest")
    soundfile = needs("soundfile", f"reading {path.name}")
    try:
        samples, found = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise UserError(f"{path}: cannot be read as sound ({error}); convert it to WAV or FLAC") from None
    if said is not None and found != said:
        raise UserError(f"{path}: is at {found} Hz, the manifest says {said}; correct sr or the file")
    if not len(samples):
        raise UserError(f"{path}: holds no sample; leave it out of the manifest")
    if not np.isfinite(samples).all():
        raise UserError(f"{path}: holds NaN or inf; convert it again")
    mono = samples.mean(1)
    return resampled(torch.from_numpy(mono), found, rate or found), rate or found


def resampled(samples: Tensor, rate: int, to: int) -> Tensor:
    """Samples [n] at `rate` Hz as [n'] at `to` Hz, by soxr (high quality)."""
    if rate == to:
        return samples
    soxr = needs("soxr", f"resampling from {rate} to {to} Hz")
    return torch.from_numpy(soxr.resample(samples.numpy(), rate, to))
