"""Transcribing files: streamed in constant memory; what does not stream is heard whole, if it is short."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from lamina.core import UserError
from lamina.data.long_audio import SoundFile
from lamina.speech.decode import Decoder
from lamina.speech.listeners import Listeners
from lamina.speech.recogniser import Recogniser
from lamina.speech.telling import Transcript

__all__ = ["transcribe"]

BLOCK = 4.0  # seconds of sound that are held
WHOLE = 120.0  # seconds that a recogniser that does not stream hears at once: its memory grows with their square


def transcribe(
    recogniser: Recogniser,
    path: str | Path,
    decoder: Decoder | None = None,
    on_seconds: Callable[[float], object] = lambda seconds: None,
) -> tuple[Transcript, float]:
    """What is said in a file at any rate and of any length, and its seconds. on_seconds: told how many are heard.

    Raises UserError for a file that cannot be read (`SoundFile`), or is too long to be heard whole.
    """
    file = SoundFile(path)
    blocks = file.blocks(recogniser.rate, BLOCK)
    if (reason := recogniser.streams) is not None:
        if file.seconds > WHOLE:
            raise UserError(
                f"{path}: has {file.seconds:.0f} s, and this {recogniser.facts['order']['model']} does not stream "
                f"({reason}); cut it into pieces of up to {WHOLE:.0f} s, or train one that streams"
            )
        return recogniser.transcribe(torch.cat(list(blocks)), decoder), file.seconds
    listeners = Listeners(recogniser, 1, decoder)
    row, heard = listeners.join(), 0
    for block in blocks:
        listeners.push({row: block})
        heard += len(block)
        on_seconds(heard / recogniser.rate)
    last = listeners.finish(row)
    return Transcript(last.stable, last.words), file.seconds
