"""What goes over the WebSocket at /listen: text messages are JSON objects with a "type", binary ones are sound.

A client says hello first, then sends sound as it comes, in messages of any length:

    {"type": "hello", "rate": 48000, "format": "s16le"}      and "token", where the server has one
    binary: samples of one channel at that rate, s16le, or f32le in -1..1
    {"type": "save"}      asks for the stream as it is, after all sound sent before
    {"type": "end"}       no sound follows

The server answers

    {"type": "ready", ...}       the hello was taken: about the model, its delays, "samples" already heard
    {"type": "caption", "at": 12, "stable": " four", "provisional": " fi", "ends": [], "words": [...], "seconds": 3.2,
     "compute_ms": 4.1, "ended": false}       text = text[:at] + stable; provisional follows it and may still change.
                                              at counts code points, and is the length of the text so far
    {"type": "saved", "stream": "...", "samples": 153600}
    {"type": "error", "kind": "rate", "message": "..."}      what to do; the connection is closed behind it
    {"type": "end"}              behind the last caption, whose "ended" is true

ends: of utterances, as code points of the text: 0.8 s without a word lie behind each; those not told before. words:
those that no later sound changes: text, start and end in seconds, confidence, emission_ms (sound heard from the
word's end until it stood in the stable text). seconds: of sound heard. The network hears blocks, such as 40 ms: a
message that makes none whole gets no caption, but the one that does answers both. compute_ms: from the last byte of the
oldest message that made a block whole, of those that the caption is the first to answer, to its sending; of the last
caption, from the turn of the "end". A client that reads slowly gets fewer captions, not older ones.

A saved stream goes on in the process that gave it and, where the server has a token, in any that serves the same run
with the same decoder and token: "resume" in the hello holds it, and sound is sent from "samples" on. Its first caption
has the whole text. It must fit into a hello (`Limits.text_bytes`).

Close codes: 1000 behind end; 1003, 1007, 1008, 1009, 1011, 1013 behind an error (CODES); 1012 where the server ends.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Literal

from pydantic import Field

from lamina.core.config import Config, UserError, nearest
from lamina.data.resampler import RATES

__all__ = ["CODES", "Hello", "Problem", "command", "decoded", "encoded", "hello"]

# of each kind of error (RFC 6455, section 7.4.1)
CODES = {
    "garbage": 1003,  # no message of this protocol
    "order": 1008,  # a message at the wrong time
    "samples": 1007,  # NaN, inf, or no samples in -1..1
    "too_big": 1009,
    "too_many": 1008,  # messages a second
    "behind": 1008,  # more sound than is heard
    "too_long": 1008,
    "idle": 1008,
    "slow": 1008,
    "token": 1008,
    "resume": 1008,  # no stream of this server's
    "full": 1013,
    "internal": 1011,
}
COMMANDS = ("save", "end")


class Problem(Exception):
    """Why a client is closed: a kind of CODES and what to do."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind, self.code = kind, CODES[kind]

    def message(self) -> dict[str, Any]:
        return {"type": "error", "kind": self.kind, "message": str(self)}


class Hello(Config):
    """The first message of a client."""

    rate: int = Field(ge=RATES[0], le=RATES[1])
    format: Literal["s16le", "f32le"] = "s16le"
    token: str | None = None
    resume: str | None = None


def hello(text: str | bytes) -> Hello:
    """The hello; Problem for anything else."""
    if isinstance(text, bytes):
        raise Problem("order", 'sound came before the hello; send {"type": "hello", "rate": ...} first')
    keys = _object(text)
    if keys.pop("type") != "hello":
        raise Problem("order", 'the first message must be {"type": "hello", "rate": ...}')
    try:
        return Hello.of(keys, "hello")
    except UserError as error:
        raise Problem("garbage", str(error)[:300]) from None


def command(text: str) -> str:
    """ "save" or "end", of a message that follows the hello."""
    kind = _object(text)["type"]
    if kind == "hello":
        raise Problem("order", "hello came twice; open another connection for another stream")
    if kind not in COMMANDS:
        raise Problem("garbage", str(nearest(str(kind), COMMANDS, "type"))[:300])
    return str(kind)


def encoded(stream: bytes) -> str:
    """A saved stream as text."""
    return base64.b64encode(stream).decode()


def decoded(text: str) -> bytes:
    """The bytes of `encoded`."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Problem("resume", "resume: no saved stream; give the text of a saved message as it was") from None


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or "type" not in found:
        raise Problem("garbage", 'a text message must be JSON with a "type"; send sound as binary messages')
    return found
