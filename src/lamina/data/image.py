"""Handwritten digits: scikit-learn's 1,797 small ones, and MNIST."""

from __future__ import annotations

import zipfile

import numpy as np
import torch
from torch import Tensor

from lamina.core.config import UserError
from lamina.data.dataset import DataSet, Split, stratified
from lamina.data.shared import shared

__all__ = ["digits", "mnist"]


def digits() -> DataSet:
    """1,797 real handwritten digits of 8 x 8 pixels by 13 writers (Alpaydin & Kaynak 1998), from scikit-learn.

    15 % dev and 20 % test of each class are held out at random. Who wrote which is not known: each writer is in all
    parts.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    x = torch.from_numpy(found.images).float().div(16)[:, None]
    y = torch.from_numpy(found.target).long()
    source = "scikit-learn load_digits: 1,797 handwritten digits, 8x8, of UCI's optdigits; own stratified split"
    return _classes("digits", x, y, 10, (0.15, 0.20), source)


def mnist() -> DataSet:
    """60,000 handwritten digits of 28 x 28 pixels (LeCun et al. 1998): the published training part.

    Reads $LAMINA_DATA/mnist/mnist_train.npz: x uint8 [60000,28,28], y. Own dev and test parts of 5,001 each are held
    out, stratified; MNIST's own 10,000 test images are not used.
    """
    path = shared("mnist", "mnist/mnist_train.npz")
    try:
        with np.load(path, allow_pickle=False) as file:
            pixels, labels = file["x"], file["y"]
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"mnist: {path} cannot be read ({error}); it must hold x [N,28,28] and y") from None
    if pixels.ndim != 3:
        raise UserError(f"mnist: {path}: x has shape {pixels.shape}; it must be [N,28,28]")
    x = torch.from_numpy(pixels).float().div(255)[:, None]
    y = torch.from_numpy(labels).long()
    source = f"MNIST's {len(y):,} training images, 28x28; own stratified split"
    return _classes("mnist", x, y, 10, (5000 / 60000, 5000 / 60000), source)


def _classes(name: str, x: Tensor, y: Tensor, n: int, held: tuple[float, float], source: str) -> DataSet:
    """Images [N,C,H,W] with labels [N], split by class."""
    train, dev, test = (Split(x[rows], y[rows]) for rows in stratified(y, *held))
    return DataSet(name, "image", "classify", train, dev, test, source, n_classes=n)
