"""Images as a PNG in a data URI, for pages and records that load nothing (by the standard library alone)."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode

import torch
from torch import Tensor

__all__ = ["png", "tiled"]


def tiled(images: Tensor, columns: int, grey: float, gap: int = 1) -> Tensor:
    """Images [N,C,H,W] as one [C,h,w], row after row, with a grey line of `gap` pixels between them."""
    n, channels, height, width = images.shape
    high, wide = height + gap, width + gap
    whole = images.new_full((channels, -(-n // columns) * high - gap, columns * wide - gap), grey)
    for i, image in enumerate(images):
        y, x = i // columns * high, i % columns * wide
        whole[:, y : y + height, x : x + width] = image
    return whole


def png(picture: Tensor) -> str:
    """A picture [C,h,w] in 0..1, of one colour or three, as a data URI."""
    pixels = (picture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).contiguous()
    height, width, channels = pixels.shape
    lines = b"".join(b"\0" + row.numpy().tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return f"data:image/png;base64,{b64encode(SIGNATURE + b''.join(_chunk(*part) for part in parts)).decode()}"


SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
