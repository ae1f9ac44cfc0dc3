"""pyctcdecode's beam search in Python, without a language model and with its own thresholds."""

from __future__ import annotations

import logging
from collections.abc import Callable

from torch import Tensor

__all__ = ["decoder"]


def decoder(n_out: int, beam: int) -> Callable[[Tensor], list[int]]:
    """log_p [T,n_out] -> labels."""
    logging.getLogger("pyctcdecode").setLevel(logging.ERROR)  # it warns that KenLM and a space are not there
    from pyctcdecode import build_ctcdecoder

    letters = [chr(0x4E00 + i) for i in range(n_out - 1)]  # signs that it knows no rule for
    theirs = build_ctcdecoder(["", *letters])
    labels = {letter: i for i, letter in enumerate(letters, 1)}

    def decode(log_p: Tensor) -> list[int]:
        return [labels[letter] for letter in theirs.decode(log_p.numpy(), beam_width=beam)]

    return decode
