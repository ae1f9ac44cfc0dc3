"""The user's own data: one FILE.npz with x, y and perhaps lengths."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch

from lamina.core.config import UserError
from lamina.data.check import check_split
from lamina.data.dataset import DataSet, Split, stratified

__all__ = ["SUFFIX", "from_file"]

SUFFIX = ".npz"
KINDS = {2: "table", 3: "sequence", 4: "image"}  # by the dimensions of x


def from_file(path: str | Path) -> DataSet:
    """Reads x [N,D] (table), [N,T,D] (sequences) or [N,C,H,W] (images, uint8 or 0..1), y, and lengths [N] if ragged.

    Integers in y are classes, other numbers are targets [N] or [N,d_target]. 15 % of the rows (of each class) become
    dev, 20 % test, by a fixed seed.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a data set's name or an .npz file with x and y")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        pickled = "Object" in str(error) and zipfile.is_zipfile(path)
        objects = "holds Python objects, which are never unpickled (rows of mixed shapes are such)"
        what = objects if pickled else "not an .npz file, or cut off"
        raise UserError(f"{path}: {what}; write it with numpy.savez(path, x=x, y=y) from arrays of numbers") from None
    for key in ("x", "y"):
        if key not in arrays:
            raise UserError(f"{path}: holds no {key}; write it with numpy.savez(path, x=x, y=y)")
    for key, array in arrays.items():
        if key in ("x", "y", "lengths") and array.dtype.kind not in "biuf":
            raise UserError(f"{path}: {key} is of type {array.dtype}; it must hold numbers")
    x, y, lengths = arrays["x"], arrays["y"], arrays.get("lengths")
    if x.ndim not in KINDS:
        raise UserError(f"{path}: x has shape {x.shape}; it must be [N,D], [N,T,D] or [N,C,H,W]")
    if len(x) != len(y) or (lengths is not None and len(lengths) != len(x)):
        counts = f"{len(x)} rows of x, {len(y)} of y" + ("" if lengths is None else f", {len(lengths)} lengths")
        raise UserError(f"{path}: {counts}; they must be equal")
    if lengths is not None and x.ndim != 3:
        raise UserError(f"{path}: lengths are for sequences [N,T,D], but x has shape {x.shape}; leave them out")
    return _dataset(path, x, y, lengths)


def _dataset(path: Path, x: np.ndarray, y: np.ndarray, lengths: np.ndarray | None) -> DataSet:
    frames = torch.from_numpy(x).float()
    if x.ndim == 4 and x.dtype == np.uint8:
        frames = frames / 255
    classes = y.dtype.kind in "biu"
    if classes and y.ndim != 1:
        raise UserError(f"{path}: y has shape {y.shape}; classes must be one integer an example, [N]")
    target = torch.from_numpy(y.astype(np.int64)) if classes else torch.from_numpy(y).float().reshape(len(y), -1)
    whole = Split(frames, target, None if lengths is None else torch.from_numpy(lengths.astype(np.int64)))
    n_classes = max(2, int(target.max()) + 1) if classes and len(y) else None
    if n_classes and n_classes > max(2, len(y)):  # a class for every example is the most there can be
        row = int(target.argmax())
        raise UserError(
            f"{path}: row {row} has label {n_classes - 1}, out of range; labels must be 0..K-1 for K classes"
        )
    check_split(whole, str(path), n_classes)
    groups = target if classes else torch.zeros(len(y), dtype=torch.int64)
    train, dev, test = (whole.part(rows) for rows in stratified(groups, 0.15, 0.20))
    if len(y) and not min(len(train), len(dev), len(test)):
        raise UserError(f"{path}: too few rows ({len(y)}) to hold any out; give some ten of each class")
    source = f"{path.name}: {len(y):,} rows, own split by a fixed seed"
    task = "classify" if classes else "regress"
    d_target = None if classes else target.shape[1]
    return DataSet(
        path.stem,
        KINDS[x.ndim],
        task,
        train,
        dev,
        test,
        source,
        n_classes=n_classes,
        d_target=d_target,
    )
