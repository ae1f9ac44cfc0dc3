"""Where live sound comes from: a microphone, a file at the pace of speech, or raw samples on stdin."""

from __future__ import annotations

import contextlib
import queue
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["file_at_pace", "microphone", "raw"]


def microphone(rate: int, seconds: float) -> Iterator[Tensor]:
    """The default microphone's samples at `rate` Hz, so many seconds at a time, until Ctrl-C."""
    import torch

    from lamina.core import UserError
    from lamina.data.audio import needs

    try:
        library = needs("sounddevice", "the microphone")
    except UserError as error:
        if isinstance(error.__context__, OSError):  # the package is there, what it calls is not
            raise UserError("the microphone needs PortAudio; run: apt install libportaudio2 (brew install portaudio), "
                            "or give a FILE or -") from None  # fmt: skip
        raise
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    try:
        found = library.query_devices(kind="input")
        with library.InputStream(
            rate, round(rate * seconds), channels=1, dtype="float32",
            callback=lambda samples, *_: heard.put(samples[:, 0].copy()),
        ):  # fmt: skip
            print(f"listening to {found['name']}; Ctrl-C ends", file=sys.stderr)
            with contextlib.suppress(KeyboardInterrupt):
                while True:
                    yield torch.from_numpy(heard.get())
    except (library.PortAudioError, ValueError) as error:
        raise UserError(
            f"the microphone cannot be heard ({error}); plug one in or allow it, or give a FILE or -"
        ) from None


def file_at_pace(path: Path, rate: int, seconds: float) -> Iterator[Tensor]:
    """A file's samples, each piece when it would have been spoken."""
    from lamina.data.long_audio import SoundFile

    began, heard = time.monotonic(), 0
    for sound in SoundFile(path).blocks(rate, seconds):
        heard += len(sound)
        time.sleep(max(0.0, began + heard / rate - time.monotonic()))
        yield sound


def raw(source: BinaryIO, own: int, rate: int, seconds: float) -> Iterator[Tensor]:
    """16-bit little-endian samples of one channel at `own` Hz, as they come, at `rate` Hz."""
    import numpy as np
    import torch

    from lamina.data.long_audio import Resampler

    resample, odd = Resampler(own, rate), b""
    while data := source.read(2 * round(own * seconds)):
        data = odd + data
        whole = len(data) - len(data) % 2
        odd = data[whole:]
        yield resample(torch.from_numpy(np.frombuffer(data[:whole], "<i2").astype(np.float32) / 32768))
    yield resample(torch.zeros(0), last=True)
