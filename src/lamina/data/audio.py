"""Sound: one file read into samples at a given rate, and the packages that it takes."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.core.config import UserError

__all__ = ["SHORT", "SOUNDS", "needs", "not_cut", "read_audio", "resampled"]

SOUNDS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".sph", ".aiff", ".aif")  # files that are taken for sounds
SHORT = 0.1  # seconds that a file may lack of what is said of it
RIFF = 8  # bytes before those that a WAV's size counts
STREAMED = (0, 0xFFFFFFFF)  # sizes of a WAV whose end was not known when it was begun


def needs(module: str, what: str, extra: str = "speech") -> ModuleType:
    """A module of an extra; without it a UserError that says what needs it and how to install it."""
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: the package is there, the library under it is not
        raise UserError(f"{what} needs {module} ({error}); run: pip install 'lamina[{extra}]'") from None


def read_audio(
    source: str | Path | bytes, rate: int | None = None, said: int | None = None, *, channels: int | None = None,
    start: float = 0.0, seconds: float | None = None, whole: float | None = None,
) -> tuple[Tensor, int]:  # fmt: skip
    """A file's samples in -1..1, its channels averaged, at `rate` Hz (None: the file's own): [n] float32, and the rate.

    WAV, FLAC, Ogg Vorbis and Opus, MP3: what libsndfile reads. source: its path, or its bytes. start and seconds: the
    part to read; of 0 seconds only the rate is told. said, channels and whole: the rate, the channels and the seconds
    of the file that a manifest gives. Raises UserError for a file that is missing, empty, no sound, cut off, not
    finite, or another than was said.
    """
    name = "its bytes" if isinstance(source, bytes) else str(source)
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise UserError(f"{name}: no such file; correct the path, or leave it out of the manifest")
    soundfile = needs("soundfile", f"reading {Path(name).name}")
    try:
        with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
            found = file.samplerate
            _as_said(name, file, said, channels, start)
            file.seek(min(round(start * found), file.frames))
            samples = file.read(-1 if seconds is None else round(seconds * found), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise UserError(f"{name}: cannot be read as sound ({error}); convert it to WAV or FLAC") from None
    not_cut(name, source, len(samples) / found, whole if seconds is None else seconds)
    if not len(samples) and seconds != 0:
        raise UserError(f"{name}: holds no sample; leave it out of the manifest")
    if not np.isfinite(samples).all():
        raise UserError(f"{name}: holds NaN or inf; convert it again")
    mono = samples.mean(1)
    return resampled(torch.from_numpy(mono), found, rate or found), rate or found


def _as_said(name: str, file: Any, said: int | None, channels: int | None, start: float) -> None:
    if said is not None and file.samplerate != said:
        raise UserError(f"{name}: is at {file.samplerate} Hz, the manifest says {said}; correct sr or the file")
    if channels is not None and file.channels != channels:
        raise UserError(f"{name}: has {file.channels} channels, the manifest says {channels}; correct either")
    if start * file.samplerate > file.frames:
        held = file.frames / file.samplerate
        raise UserError(f"{name}: holds {held:.2f} s, the manifest begins at {start:g}; correct offset or the file")


def not_cut(name: str, source: str | Path | bytes, held: float, said: float | None) -> None:
    """Refuses a file that ends before what its manifest, or its own header, says."""
    if said is not None and held < said - SHORT:
        raise UserError(f"{name}: holds {held:.2f} s, the manifest says {said:.2f}; it may be cut off: fetch it again")
    if isinstance(source, bytes):
        head, size = source[:RIFF], len(source)
    else:
        with Path(source).open("rb") as file:
            head, size = file.read(RIFF), Path(source).stat().st_size
    told = int.from_bytes(head[4:], "little")
    if head[:4] == b"RIFF" and told not in STREAMED and size < told + RIFF - 1:  # some write no last padding byte
        raise UserError(f"{name}: is cut off: {size:,} bytes of the {told + RIFF:,} that it says; fetch it again")


def resampled(samples: Tensor, rate: int, to: int) -> Tensor:
    """Samples [n] at `rate` Hz as [n'] at `to` Hz, by soxr (high quality)."""
    if rate == to:
        return samples
    soxr = needs("soxr", f"resampling from {rate} to {to} Hz")
    return torch.from_numpy(soxr.resample(samples.numpy(), rate, to))
