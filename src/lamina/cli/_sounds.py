"""Where live sound comes from: a microphone, a file at the pace of speech, or raw samples on stdin."""

from __future__ import annotations

import queue
import signal
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from torch import Tensor

    from lamina.data.long_audio import SoundFile

__all__ = ["file_at_pace", "microphone", "raw", "until_interrupted"]


def until_interrupted(sounds: Iterator[Tensor]) -> Iterator[Tensor]:
    """The sounds until Ctrl-C, which ends a wait for the next, but not the hearing of what came; a second does."""
    waits = ended = False

    def interrupted(*_: object) -> None:
        nonlocal ended
        ended = True
        signal.signal(signal.SIGINT, before)
        if waits:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        while not ended:
            waits = True
            sound = next(sounds, None)
            waits = False
            if sound is None:
                return
            yield sound
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGINT, before)


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
            while True:
                yield torch.from_numpy(heard.get())
    except (library.PortAudioError, ValueError) as error:
        raise UserError(
            f"the microphone cannot be heard ({error}); plug one in or allow it, or give a FILE or -"
        ) from None


def file_at_pace(file: SoundFile, rate: int, seconds: float) -> Iterator[Tensor]:
    """A file's samples, each piece when it would have been spoken."""
    began, heard = time.monotonic(), 0
    for sound in file.blocks(rate, seconds):
        heard += len(sound)
        time.sleep(max(0.0, began + heard / rate - time.monotonic()))
        yield sound


def raw(source: BinaryIO, own: int, rate: int, seconds: float) -> Iterator[Tensor]:
    """16-bit little-endian samples of one channel at `own` Hz, as they come, at `rate` Hz."""
    import numpy as np
    import torch

    from lamina.data.resampler import Resampler

    resampler, odd = Resampler(own, rate), b""
    while data := source.read(2 * round(own * seconds)):
        data = odd + data
        whole = len(data) - len(data) % 2
        odd = data[whole:]
        yield torch.from_numpy(
            resampler.push(np.frombuffer(data[:whole], "<i2").astype(np.float32) / np.float32(32768))
        )
    if odd:
        print("the last byte was half a sample and is left out; send s16le of one channel", file=sys.stderr)
    yield torch.from_numpy(resampler.finish())
