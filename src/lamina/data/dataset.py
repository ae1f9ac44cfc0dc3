"""DataSet: three fixed parts of tensors, and what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from lamina.core.seq import Seq
from lamina.data.features import Features
from lamina.data.ragged import Ragged
from lamina.data.vary import Masks
from lamina.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    from lamina.speech.units import Units

__all__ = ["NOT_ASKED", "DataSet", "Examples", "Split", "digest", "stratified"]

NOT_ASKED = -1  # in a target of frames: nothing is asked there
FULL = 32768.0  # of a 16-bit sample
Examples = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
"""Makes so many fresh examples, x and y, from a generator alone."""


@dataclass(frozen=True)
class Split:
    """One part of a data set.

    x: images [N,C,H,W] float32 in 0..1, sequences [N,T,D], tables [N,D], or tokens [N,T] (integers); of sounds a
    `Ragged`, which reads like a tensor: features [N,T,D], or samples [N,T,1] int16, which a batch has in -1..1.
    y: classes [N] int64, numbers [N,d_target] float32, for tokens a class a frame [N,T], NOT_ASKED where none is, or
    rows of labels [N,U], NOT_ASKED behind their ends.
    lengths: real frames of each row [N] int64, or None where all T are real.
    aligned: where it is known when each label is said, the label of each frame [N,T] int64, 0 between labels and
    NOT_ASKED behind the end of a row.
    """

    x: Tensor
    y: Tensor
    lengths: Tensor | None = None
    aligned: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example; of the longest, where they are of many lengths."""
        return tuple(self.x.shape[1:])

    @property
    def sampled(self) -> bool:
        """Whether x holds samples."""
        return isinstance(self.x, Ragged) and not self.x.is_floating_point()

    def rows(self, index: Tensor | slice) -> dict[str, Tensor]:
        """Some rows as a batch: {"x", "y"} and, where rows are ragged, "lengths"; x ends with the longest row. With
        "aligned" where it is known.
        """
        if self.lengths is None:
            return {"x": self.x[index], "y": self.y[index]}
        lengths = self.lengths[index]
        longest = int(lengths.max()) if self.x.dim() == 3 and len(lengths) else None
        x = self.x[index, :longest]
        batch = {"x": x / FULL if self.sampled else x, "y": self.y[index], "lengths": lengths}
        return batch if self.aligned is None else {**batch, "aligned": self.aligned[index, :longest]}

    def part(self, index: Tensor) -> Split:
        """The same rows as a Split of their own."""
        lengths, aligned = (None if t is None else t[index] for t in (self.lengths, self.aligned))
        x = self.x.part(index) if isinstance(self.x, Ragged) else self.x[index]
        return Split(x, self.y[index], lengths, aligned)


@dataclass(frozen=True)
class DataSet:
    """Data with fixed train, dev and test parts, the same in every run.

    task: "classify" and "regress" ask once an example; of tokens, "answer" asks for a class at some frames, "lm" for
    the next byte at every frame, "mlm" for hidden words and, at [CLS], whether two sentences belong together, "span"
    where an answer begins and ends, [N,2]; of pairs, "translate" asks for the words of y, the first of which begins it
    and the last ends it; of sounds, "ctc" asks for a row of labels; "denoise" and "adversarial" ask for more examples
    like these, of one length, "denoise" of the classes y; of samples, "contrastive" asks for what is masked.
    examples: where training examples are made afresh at every step; `train` is then a sample of them. probes: further
    test parts by a number that they differ in, such as their length; probe names it.
    """

    name: str
    kind: Literal["image", "sequence", "table", "tokens", "pairs", "audio", "samples"]
    task: Literal[
        "classify", "regress", "answer", "lm", "mlm", "span", "translate", "ctc", "denoise", "adversarial",
        "contrastive",
    ]  # fmt: skip
    train: Split = field(repr=False)
    dev: Split = field(repr=False)
    test: Split = field(repr=False)
    source: str
    n_classes: int | None = None
    d_target: int | None = None
    n_vocab: int | None = None  # of tokens: they are 0..n_vocab-1
    vocabulary: Vocabulary | None = field(default=None, repr=False, compare=False)  # where the tokens are of words
    labels: tuple[str, ...] = ()  # the names of the classes, where they have any; of "ctc" those from class 1 on
    units: Units | None = field(default=None, repr=False)  # of "ctc", where its labels are pieces of SentencePiece
    examples: Examples | None = field(default=None, repr=False, compare=False)
    probes: dict[int, Split] = field(default_factory=dict, repr=False)
    probe: str = ""
    rate: int | None = None  # of the sound, Hz: of samples, and where frames are `LogMel`'s of their width
    title: str = ""  # what a sentence calls it; default its name
    features: Features | None = None  # what sounds were made into frames by
    masks: Masks | None = None  # what hides parts of the frames while they are learned from, and nowhere else

    @property
    def n_out(self) -> int:
        """Width of a prediction: the classes, or the numbers of a target."""
        width = self.d_target if self.task == "regress" else self.n_classes
        if width is None:
            raise ValueError(f"{self.name}: a data set to {self.task} says n_classes or d_target")
        return width

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.train.shape

    @cached_property
    def digest(self) -> str:
        """A hash of all tensors: two data sets of equal digest are equal.

        One processor's where sounds are heard: another rounds features and new rates otherwise in the last bit.
        """
        return digest(self.train, self.dev, self.test, *self.probes.values())

    @cached_property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation of all pixels of the training part, or of all features of its real frames.

        (0, 1) for what is neither image nor sound.
        """
        if self.kind not in ("image", "audio"):
            return 0.0, 1.0
        x = self.train.x
        if isinstance(x, Ragged):
            x = x.frames
        elif self.train.lengths is not None:
            x = x[Seq.ragged(x, self.train.lengths).mask]
        return float(x.mean()), float(x.std()) or 1.0

    def describe(self) -> dict[str, Any]:
        """What a results file says of the data."""
        found: dict[str, Any] = {
            "name": self.name,
            "kind": self.kind,
            "task": self.task,
            "train": len(self.train) if self.examples is None else "fresh examples at every step",
            "dev": len(self.dev),
            "test": len(self.test),
            "shape": list(self.shape),
            "classes": self.n_classes,
            "source": self.source,
            "digest": self.digest,
        }
        if self.features is not None:  # so that sounds can be heard without the data
            found |= {"features": asdict(self.features), "scale": list(self.scale)}
        if self.units is not None:
            found["units"] = self.units.describe()
        found |= {"rate": self.rate} if self.kind == "samples" else {}
        return found | ({"labels": list(self.labels)} if self.labels else {})


def digest(*splits: Split) -> str:
    """The first 16 hex digits of the SHA-256 of every tensor's type, shape and bytes."""
    total = hashlib.sha256()
    for split in splits:
        more = () if split.aligned is None else (split.aligned,)
        for tensor in (split.x, split.y, split.lengths, *more):
            if tensor is None:
                total.update(b"none")
                continue
            held = tensor.frames if isinstance(tensor, Ragged) else tensor.contiguous()
            shape = held.shape if tensor is split.x and split.sampled else tensor.shape  # of samples, how many in all
            total.update(f"{tensor.dtype} {tuple(shape)}".encode())
            total.update(held.numpy())
    return total.hexdigest()[:16]


def stratified(y: Tensor, dev: float, test: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Row numbers of train, dev and test, each with every class in the same proportion. y [N] int64.

    dev and test are fractions of each class, rounded. The split depends on y and seed only.
    """
    generator = torch.Generator().manual_seed(seed)
    none = torch.zeros(0, dtype=torch.int64)
    parts: tuple[list[Tensor], ...] = ([none], [none], [none])
    for label in y.unique(sorted=True):
        rows = torch.nonzero(y == label).flatten()
        rows = rows[torch.randperm(len(rows), generator=generator)]
        n_test, n_dev = round(len(rows) * test), round(len(rows) * dev)
        cuts = (rows[n_test + n_dev :], rows[n_test : n_test + n_dev], rows[:n_test])
        for part, cut in zip(parts, cuts, strict=True):
            part.append(cut)
    train, held, last = (torch.cat(part).sort().values for part in parts)
    return train, held, last
