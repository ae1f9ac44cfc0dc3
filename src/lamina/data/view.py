"""Views: how a structure sees an example. A frame, a sequence of frames, or an image; or the reason why it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.config import UserError
from lamina.core.seq import Seq
from lamina.data.dataset import DataSet

__all__ = ["CannotTake", "Entry", "View", "view"]


class CannotTake(UserError):
    """A structure cannot take the data; `reason` says why, for the table."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Entry(Protocol):
    """What a view needs of a row of MODELS."""

    @property
    def name(self) -> str: ...
    @property
    def view(self) -> str: ...


@dataclass(frozen=True)
class View:
    """The way from a batch's x to what a structure takes: Seq [B,frames,d_in], images [B,C,H,W], or a Seq of tokens.

    text is the words for a table, such as "8 rows of 8 as frames". n_vocab: where the frames are tokens;
    separator: the token that ends a sentence, where they are words. whole: the structure takes frames as they are.
    Images and sounds are centred and scaled by the mean and deviation of the training part's pixels or features, the
    same for every structure.
    """

    text: str
    frames: int
    d_in: int
    arrange: Callable[[Tensor, Tensor | None], Seq | Tensor] = field(repr=False)
    scale: tuple[float, float] = (0.0, 1.0)
    n_vocab: int | None = None
    separator: int | None = None
    whole: bool = False

    def __call__(self, x: Tensor, lengths: Tensor | None = None) -> Seq | Tensor:
        mean, deviation = self.scale
        if (mean, deviation) != (0.0, 1.0):
            x = (x - mean) / deviation
        return self.arrange(x, lengths)


def view(dataset: DataSet, entry: Entry, model: nn.Module) -> View:
    """How that model sees that data set; raises CannotTake where it cannot."""
    kinds = {"frame": _frame, "sequence": _sequence, "image": _image, "pixels": _pixels, "pairs": _pairs,
             "waveform": _waveform}  # fmt: skip
    if entry.view not in kinds:
        raise CannotTake(f"{entry.name} has the view {entry.view!r}, which no data set here offers")
    if entry.view not in ("image", "pixels") and getattr(model, "n_vocab", None):
        raise CannotTake(f"takes token ids; {dataset.name} is {_what(dataset)}")
    if dataset.kind == "pairs" and entry.view != "pairs":
        raise CannotTake(f"reads one side only; {dataset.name} is {_what(dataset)}")
    return kinds[entry.view](dataset, model)


def _frame(dataset: DataSet, model: nn.Module) -> View:
    """The flattened example as one frame."""
    if dataset.train.lengths is not None:
        raise CannotTake(f"needs examples of one length; {dataset.name}'s lengths differ")
    if dataset.kind == "tokens":
        raise CannotTake(f"gives one answer an example; {dataset.name} asks at frames of {_what(dataset)}")
    width = prod(dataset.shape)
    return View(f"{width} values as one frame", 1, width, lambda x, _: Seq.of(x.reshape(len(x), 1, -1)), dataset.scale)


def _sequence(dataset: DataSet, model: nn.Module) -> View:
    """A sequence or tokens as they are; an image's rows as frames."""
    if dataset.kind == "table":
        raise CannotTake(f"needs frames in order; {dataset.name} is {_what(dataset)}")
    if dataset.kind == "samples":
        raise CannotTake(f"needs features; {dataset.name} is {_what(dataset)}")
    if dataset.kind == "image":
        channels, rows, columns = dataset.shape
        width = channels * columns

        def by_rows(x: Tensor, lengths: Tensor | None) -> Seq:
            return Seq.of(x.transpose(1, 2).reshape(len(x), rows, width))

        return View(f"{rows} rows of {width} as frames", rows, width, by_rows, dataset.scale)
    if dataset.kind == "tokens":
        (frames,), words = dataset.shape, dataset.n_vocab

        def tokens(x: Tensor, lengths: Tensor | None) -> Seq:
            return Seq.of(x.long()) if lengths is None else Seq.ragged(x.long(), lengths)

        what = "bytes" if dataset.task == "lm" else f"tokens of {words}"
        separator = dataset.vocabulary.separator if dataset.vocabulary else None
        return View(f"{frames} {what}", frames, 1, tokens, n_vocab=words, separator=separator)
    frames, width = dataset.shape

    def as_is(x: Tensor, lengths: Tensor | None) -> Seq:
        return Seq.of(x) if lengths is None else Seq.ragged(x, lengths)

    text = f"{frames} frames of {width}" if dataset.train.lengths is None else f"up to {frames} frames of {width}"
    return View(text, frames, width, as_is, dataset.scale)


def _waveform(dataset: DataSet, model: nn.Module) -> View:
    """Samples as they are."""
    if dataset.kind != "samples":
        raise CannotTake(f"hears samples; {dataset.name} is {_what(dataset)}")
    longest, width = dataset.shape

    def as_is(x: Tensor, lengths: Tensor | None) -> Seq:
        return Seq.of(x) if lengths is None else Seq.ragged(x, lengths)

    return View(f"up to {longest:,} samples at {dataset.rate} Hz", longest, width, as_is, whole=True)


def _pairs(dataset: DataSet, model: nn.Module) -> View:
    """The source's tokens, up to the longest row's last."""
    if dataset.kind != "pairs":
        raise CannotTake(f"needs a source and a target; {dataset.name} is {_what(dataset)}")
    (frames,) = dataset.shape

    def source(x: Tensor, lengths: Tensor | None) -> Seq:
        if lengths is None:
            return Seq.of(x.long())
        longest = int(lengths.max()) if len(lengths) else 0
        return Seq.ragged(x[:, :longest].long(), lengths)

    return View(f"up to {frames} words", frames, 1, source, n_vocab=dataset.n_vocab)


def _image(dataset: DataSet, model: nn.Module) -> View:
    """The image at the size the model takes: enlarged by whole steps where it fits more than once, then padded."""
    if dataset.kind != "image":
        raise CannotTake(f"needs images; {dataset.name} is {_what(dataset)}")
    channels, height, width = (int(n) for n in model.image_shape)
    have, rows, columns = dataset.shape
    if have not in (1, channels):
        raise CannotTake(f"needs images of {channels} channels; {dataset.name} has {have}")
    larger = rows > height or columns > width
    times = min(height // rows, width // columns) if not larger else 1
    size = (height, width) if larger else (rows * times, columns * times)
    down, across = height - size[0], width - size[1]
    border = (across // 2, across - across // 2, down // 2, down - down // 2)
    mean, deviation = dataset.scale

    def fit(x: Tensor, lengths: Tensor | None) -> Tensor:
        if size != (rows, columns):
            x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=larger)
        if any(border):
            x = F.pad(x, border, value=-mean / deviation)  # black, after scaling
        return x.expand(-1, channels, -1, -1)

    verb = (
        "unchanged"
        if size == (rows, columns) and not any(border)
        else "padded"
        if size == (rows, columns)
        else "resized"
    )
    text = f"{rows}x{columns}" + (" as it is" if verb == "unchanged" else f" {verb} to {height}x{width}")
    return View(text, 1, channels * height * width, fit, dataset.scale)


def _pixels(dataset: DataSet, model: nn.Module) -> View:
    """The image as it is, 0..1 as -1..1: what a generator makes."""
    if dataset.kind != "image":
        raise CannotTake(f"makes images; {dataset.name} is {_what(dataset)}")
    channels, rows, columns = dataset.shape
    if tuple(model.image_shape) != dataset.shape:  # type: ignore[arg-type]
        made, have = ("x".join(map(str, shape)) for shape in (model.image_shape, dataset.shape))  # type: ignore[arg-type]
        raise CannotTake(f"makes images of {made}; {dataset.name} has {have}")
    width = channels * rows * columns
    return View(f"{rows}x{columns} as it is, -1 to 1", 1, width, lambda x, _: x, (0.5, 0.5))


def _what(dataset: DataSet) -> str:
    """The data in words: "a sequence of 2-wide frames"."""
    shapes: dict[str, Callable[..., Any]] = {
        "image": lambda c, h, w: f"a {h}x{w} image",
        "sequence": lambda t, d: f"a sequence of {d}-wide frames",
        "audio": lambda t, d: f"a sound as {d}-wide frames",
        "samples": lambda t, d: "a sound as its samples",
        "table": lambda d: f"a table of {d} columns",
        "tokens": lambda t: f"a sequence of {t} tokens",
        "pairs": lambda t: "pairs of a source and a target",
    }
    return str(shapes[dataset.kind](*dataset.shape))
