"""Pictures: examples side by side as a PNG, or as they come to be as a GIF (through Pillow, 2026)."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from math import ceil, sqrt
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.core.config import UserError
from lamina.data.png import tiled

__all__ = ["grid", "pillow", "spectra", "write_gif", "write_png"]

TILE, GAP, GREY = 96, 2, 110  # pixels that a small example is enlarged to at least, those between two, and their shade
SHOWN, HELD = 60, 1500  # milliseconds of a frame of a GIF, and of its last


def pillow() -> ModuleType:
    """PIL.Image; without it a UserError with the line that installs it."""
    try:
        return importlib.import_module("PIL.Image")
    except ImportError:
        raise UserError("a picture needs Pillow, which is not installed; run: pip install 'lamina[image]'") from None


def grid(images: Tensor, tile: int = TILE) -> np.ndarray:
    """Images [n,C,H,W] in 0..1, of one or three colours, as one picture uint8 [H',W',3].

    As square as n allows, row by row; each pixel of an image below `tile` becomes a square of pixels.
    """
    n, colours, height, width = images.shape
    if colours not in (1, 3):
        raise UserError(f"images of {colours} colours cannot be shown; give one or three")
    pixels = (images.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8).expand(-1, 3, -1, -1)
    times = max(1, ceil(tile / max(height, width)))
    squares = pixels.repeat_interleave(times, 2).repeat_interleave(times, 3)
    whole = tiled(squares, ceil(sqrt(n * height / width)), GREY, GAP)
    return F.pad(whole, (GAP,) * 4, value=GREY).permute(1, 2, 0).contiguous().numpy()


def spectra(frames: Tensor, low: float, high: float) -> Tensor:
    """Frames [n,T,F] as images [n,1,F,T] in 0..1: time to the right, frequency upwards, `low` black, `high` white."""
    return ((frames - low) / (high - low)).clamp(0, 1).transpose(1, 2).flip(1)[:, None]


def write_png(path: Path, picture: np.ndarray) -> None:
    """A picture uint8 [H,W,3] as a PNG, whole or not at all."""
    image, part = pillow().fromarray(picture), path.with_name(f"{path.name}.part")
    image.save(part, format="PNG", optimize=True)
    os.replace(part, path)


def write_gif(path: Path, pictures: Sequence[np.ndarray]) -> None:
    """Pictures uint8 [H,W,3] of one size one after another, for ever, the last one held; whole or not at all."""
    images, part = [pillow().fromarray(p) for p in pictures], path.with_name(f"{path.name}.part")
    took = [SHOWN] * (len(images) - 1) + [HELD]
    images[0].save(part, format="GIF", save_all=True, append_images=images[1:], duration=took, loop=0)
    os.replace(part, path)
