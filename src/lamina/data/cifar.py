"""CIFAR-10's small colour photographs (Krizhevsky 2009), as a zip of JPEG files in a folder a class."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from lamina.core.config import UserError
from lamina.data.dataset import DataSet, Split, stratified
from lamina.data.shared import shared

__all__ = ["cifar10"]

PLACE = "cifar10_subset/cifar10_9k.zip"
SIDE = 32


def cifar10() -> DataSet:
    """9,000 photographs of 10 kinds of things, 32 x 32 pixels in three colours: part of CIFAR-10 (Krizhevsky 2009).

    Reads $LAMINA_DATA/cifar10_subset/cifar10_9k.zip: train/CLASS/*.jpg and dev/CLASS/*.jpg. All of train is to learn
    from; each class of dev is halved by a fixed seed into the dev and the test part. Needs Pillow.
    """
    path = shared("cifar10", PLACE)
    try:
        with zipfile.ZipFile(path) as archive:
            files = _sorted(archive, path)
            classes = sorted({name for part in files.values() for name, _ in part})
            parts = {part: _read(archive, rows, classes, path) for part, rows in files.items()}
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"cifar10: {path} cannot be read ({error}); it must be a zip of JPEG files") from None
    train, held = Split(*parts["train"]), Split(*parts["dev"])
    dev, test, _ = stratified(held.y, 0.5, 0.0)
    source = f"{path.name}: {len(train) + len(held):,} images of CIFAR-10, 32x32 in colour; its dev part halved"
    return DataSet(
        "cifar10", "image", "classify", train, held.part(dev), held.part(test), source, n_classes=len(classes)
    )


def _sorted(archive: zipfile.ZipFile, path: Path) -> dict[str, list[tuple[str, str]]]:
    """The images of each part in the order of their names: [(class, name in the archive)]."""
    files: dict[str, list[tuple[str, str]]] = {"train": [], "dev": []}
    for name in sorted(archive.namelist()):
        place = PurePosixPath(name)
        if place.suffix.lower() in (".jpg", ".jpeg") and len(place.parts) == 3 and place.parts[0] in files:
            files[place.parts[0]].append((place.parts[1], name))
    for part, rows in files.items():
        if not rows:
            raise UserError(f"cifar10: {path} holds no {part}/CLASS/*.jpg; it must hold train and dev")
    return files


def _read(
    archive: zipfile.ZipFile, rows: list[tuple[str, str]], classes: list[str], path: Path
) -> tuple[Tensor, Tensor]:
    """Pixels [N,3,32,32] in 0..1 and classes [N]."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise UserError("cifar10: reading JPEG needs Pillow; install it with pip install 'lamina[image]'") from None
    pixels = np.empty((len(rows), SIDE, SIDE, 3), np.uint8)
    for i, (_, name) in enumerate(rows):
        try:
            with Image.open(io.BytesIO(archive.read(name))) as image:
                if image.size != (SIDE, SIDE):
                    raise ValueError("it has {}x{}".format(*image.size))
                pixels[i] = np.asarray(image.convert("RGB"))
        except (UnidentifiedImageError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise UserError(f"cifar10: {path}: {name} is no JPEG of 32x32 pixels ({first})") from None
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255).contiguous()
    return x, torch.tensor([classes.index(name) for name, _ in rows])
