"""Saved streams as bytes that a client may keep and cannot change: a stream is read again only if its seal is whole."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

import torch

from lamina.core import UserError
from lamina.core import state as trees
from lamina.data.resampler import Samples
from lamina.deploy.serve.protocol import Problem

__all__ = ["Saved", "key_of", "opened", "sealed"]

SEAL = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Saved:
    """A client's stream: what `Listeners.save` gave, and its resampler's rate, counts and tail."""

    listener: bytes
    rate: int
    heard: int
    given: int
    tail: Samples


def key_of(token: str | None) -> bytes:
    """The key of a process's seals: the token's, which others share, or one that no other process knows."""
    if token is None:
        return secrets.token_bytes(32)
    return f"lamina stream {token}".encode(errors="surrogatepass")


def sealed(saved: Saved, key: bytes) -> bytes:
    """The stream behind its seal: HMAC-SHA256 by the key of every process that may go on with it."""
    data = trees.to_bytes({
        "listener": torch.frombuffer(bytearray(saved.listener), dtype=torch.uint8),
        "counts": torch.tensor([saved.rate, saved.heard, saved.given]),
        "tail": torch.from_numpy(saved.tail),
    })  # fmt: skip
    return hmac.digest(key, data, "sha256") + data


def opened(data: bytes, key: bytes) -> Saved:
    """What was sealed; Problem for anything else, before any of it is read."""
    if not hmac.compare_digest(data[:SEAL], hmac.digest(key, data[SEAL:], "sha256")):
        raise Problem(
            "resume", "the saved stream is not whole, or another server's whose token differs; begin a new stream"
        )
    try:
        tree = trees.from_bytes(data[SEAL:])
    except UserError as error:
        raise Problem("resume", str(error)) from None
    listener, counts, tail = (trees.flatten(tree)[name] for name in ("listener", "counts", "tail"))
    rate, heard, given = counts.tolist()
    return Saved(listener.numpy().tobytes(), rate, heard, given, tail.numpy())
