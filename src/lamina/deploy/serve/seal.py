"""Saved streams as bytes that a client may keep and cannot change: a stream is read again only if its seal is whole."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

import torch

from lamina.core import UserError
from lamina.core import state as trees
from lamina.deploy.serve.protocol import Problem
from lamina.deploy.serve.sound import Samples

__all__ = ["Saved", "opened", "sealed"]

SEAL = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Saved:
    """A client's stream: what `Listeners.save` gave, and its resampler's rate, counts and tail."""

    listener: bytes
    rate: int
    heard: int
    given: int
    tail: Samples


def sealed(saved: Saved, token: str | None) -> bytes:
    """The stream behind its seal: HMAC-SHA256 by the token, which every process that may go on with it knows."""
    data = trees.to_bytes({
        "listener": torch.frombuffer(bytearray(saved.listener), dtype=torch.uint8),
        "counts": torch.tensor([saved.rate, saved.heard, saved.given]),
        "tail": torch.from_numpy(saved.tail),
    })  # fmt: skip
    return _seal(data, token) + data


def opened(data: bytes, token: str | None) -> Saved:
    """What was sealed; Problem for anything else, before any of it is read."""
    if not hmac.compare_digest(data[:SEAL], _seal(data[SEAL:], token)):
        raise Problem("resume", "the saved stream is not whole, or was saved under another token; begin a new stream")
    try:
        tree = trees.from_bytes(data[SEAL:])
    except UserError as error:
        raise Problem("resume", str(error)) from None
    listener, counts, tail = (trees.flatten(tree)[name] for name in ("listener", "counts", "tail"))
    rate, heard, given = counts.tolist()
    return Saved(listener.numpy().tobytes(), rate, heard, given, tail.numpy())


def _seal(data: bytes, token: str | None) -> bytes:
    return hmac.digest(f"lamina stream {token or ''}".encode(), data, "sha256")
