"""A client's sound: bytes to samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.data.resampler import Samples
from lamina.deploy.serve.protocol import Problem

__all__ = ["FORMATS", "samples"]

FORMATS: dict[str, np.dtype[Any]] = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}


def samples(data: bytes, form: str) -> Samples:
    """The samples [n] float32 of a message; Problem where it holds no whole number of them."""
    kind = FORMATS[form]
    if len(data) % kind.itemsize:
        raise Problem("garbage", f"{len(data)} bytes are no whole number of {form} samples of {kind.itemsize} bytes")
    found = np.frombuffer(data, kind)
    return found * np.float32(1 / 32768) if form == "s16le" else found.astype(np.float32)
