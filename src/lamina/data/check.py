"""What nobody can train on is said before training begins, in one line with the remedy."""

from __future__ import annotations

import torch

from lamina.core.config import UserError
from lamina.core.seq import Seq
from lamina.data.dataset import NOT_ASKED, DataSet, Split
from lamina.data.ragged import Ragged

__all__ = ["check", "check_split"]


def check(dataset: DataSet) -> DataSet:
    """Gives the data set back, or raises UserError that says which part is wrong and how."""
    for part in ("train", "dev", "test"):
        split = getattr(dataset, part)
        where = f"{dataset.name}: {part}"
        check_split(split, where, dataset.n_out if dataset.task in ("classify", "denoise", "adversarial") else None)
        if dataset.kind == "pairs":
            _pairs(split, where, dataset.n_out)
        if dataset.kind == "tokens":
            _tokens(split, where, dataset)
        if dataset.task == "ctc":
            _label_rows(split, where, dataset.n_out)
        if dataset.task == "regress" and split.y.shape != (len(split), dataset.n_out):
            raise UserError(
                f"{where}: y has shape {tuple(split.y.shape)}; targets must be [{len(split)},{dataset.n_out}]"
            )
        form = 2 if split.sampled else 1  # samples are of any length
        if split.x.shape[form:] != dataset.train.x.shape[form:]:
            raise UserError(
                f"{where}: examples of shape {tuple(split.x.shape[1:])}, in train {dataset.shape}; make them equal"
            )
    if dataset.task == "classify" and len(dataset.train.y.unique()) < 2:
        raise UserError(
            f"{dataset.name}: train: one class only ({int(dataset.train.y[0])}); add examples of another class"
        )
    return dataset


def check_split(split: Split, where: str, n_classes: int | None) -> None:
    """One part, its rows counted as they stand in it. n_classes: where y holds classes."""
    _sizes(split, where)
    _finite(split, where)
    if n_classes is not None:
        _labels(split, n_classes, where)


def _sizes(split: Split, where: str) -> None:
    if len(split) == 0:
        raise UserError(f"{where}: empty; give it at least one example")
    if 0 in split.x.shape:
        raise UserError(f"{where}: examples of shape {tuple(split.x.shape[1:])} hold no number; give them frames")
    if len(split.y) != len(split):
        raise UserError(f"{where}: {len(split)} examples but {len(split.y)} targets; give one target an example")
    lengths = split.lengths
    if lengths is None:
        return
    if lengths.shape != (len(split),):
        raise UserError(
            f"{where}: {len(split)} examples but lengths of shape {tuple(lengths.shape)}; give one an example"
        )
    frames = split.shape[0]
    wrong = torch.nonzero((lengths < 1) | (lengths > frames)).flatten()
    if len(wrong):
        row = int(wrong[0])
        raise UserError(
            f"{where}: row {row} has length {int(lengths[row])}; lengths must be 1..{frames}, the frames of x"
        )


def _finite(split: Split, where: str) -> None:
    """Padding may hold NaN; real frames and targets may not."""
    x = split.x
    if isinstance(x, Ragged):  # padded only where a row has to be named
        x = x.frames if bool(torch.isfinite(x.frames).all()) else x[:]
    elif split.lengths is not None and x.is_floating_point():
        x = Seq.ragged(x, split.lengths).zeroed()
    for name, tensor in (("x", x), ("y", split.y)):
        if not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()):
            continue
        bad = torch.nonzero(
            ~torch.isfinite(tensor.flatten(1) if tensor.dim() > 1 else tensor[:, None]).all(1)
        ).flatten()
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise UserError(f"{where}: {name} holds NaN or inf in row {int(bad[0])}{more}; remove or repair the rows")


def _tokens(split: Split, where: str, dataset: DataSet) -> None:
    """Tokens within the vocabulary; where frames are asked, a target or NOT_ASKED at each, and at least one asked."""
    asked = dataset.task not in ("classify", "span")  # at frames
    if asked and split.y.shape != split.x.shape:
        shapes = f"y has shape {tuple(split.y.shape)}, x {tuple(split.x.shape)}"
        raise UserError(f"{where}: {shapes}; give each frame a target, or {NOT_ASKED}")
    bounds = [("x", split.x, 0, dataset.n_vocab), ("y", split.y, NOT_ASKED, dataset.n_out)]
    for name, tensor, least, n in bounds[: 2 if asked else 1]:
        low, high = int(tensor.min()), int(tensor.max())
        if n is None or low < least or high >= n:
            raise UserError(f"{where}: {name} holds {low}..{high}; it must be {least}..{(n or 0) - 1}")
    if asked and split.y.max() == NOT_ASKED:
        raise UserError(f"{where}: nothing is asked; give at least one target")


def _pairs(split: Split, where: str, n_vocab: int) -> None:
    """Tokens of one vocabulary on both sides; every target has its beginning and its end."""
    asked = split.y != NOT_ASKED
    for name, tokens in (("x", split.x), ("y", split.y[asked])):
        if int(tokens.min()) < 0 or int(tokens.max()) >= n_vocab:
            held = f"{int(tokens.min())}..{int(tokens.max())}"
            raise UserError(f"{where}: {name} holds {held}; it must be 0..{n_vocab - 1}")
    short = (asked[:, :2].sum(1) < 2) | (asked[:, 1:] & ~asked[:, :-1]).any(1)
    if short.any():
        row = int(short.nonzero()[0])
        raise UserError(f"{where}: row {row} of y holds {split.y[row].tolist()}; begin and end it, {NOT_ASKED} behind")


def _label_rows(split: Split, where: str, n_out: int) -> None:
    """Rows of labels 1..n_out-1, at least one each, NOT_ASKED behind the last."""
    y, asked = split.y, split.y != NOT_ASKED
    if y.dim() != 2 or y.is_floating_point():
        raise UserError(f"{where}: y is {y.dtype} of shape {tuple(y.shape)}; rows of labels are integers [N,U]")
    wrong = ~asked.any(1) | (asked[:, 1:] & ~asked[:, :-1]).any(1) | (asked & ((y < 1) | (y >= n_out))).any(1)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise UserError(
            f"{where}: row {row} is {y[row].tolist()}; labels are 1..{n_out - 1}, at least one, and {NOT_ASKED} behind"
        )


def _labels(split: Split, n_classes: int, where: str) -> None:
    y = split.y
    if y.dim() != 1 or y.is_floating_point():
        raise UserError(f"{where}: y is {y.dtype} of shape {tuple(y.shape)}; classes must be integers, one an example")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= n_classes:
        bad = low if low < 0 else high
        row = int(torch.nonzero(y == bad)[0])
        raise UserError(f"{where}: row {row} has label {bad}, out of range; labels must be 0..{n_classes - 1}")
