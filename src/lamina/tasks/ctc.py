"""Connectionist temporal classification: a row of labels from a longer row of frames, without an alignment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from lamina import ops
from lamina.core import Config, Layer, Seq
from lamina.data import NOT_ASKED, CannotTake, DataSet, View
from lamina.data.speech import BLANK
from lamina.models.wav2vec2 import Wav2Vec2
from lamina.speech.score import edits, score
from lamina.speech.units import Units
from lamina.tasks.task import Batch, Metric, Task

__all__ = ["Ctc", "CtcKeys", "best_path", "errors", "fewest_frames", "fits"]


class CtcKeys(Config):
    """warm_start: the share of the training over which the loss passes from one path to all of them; 0 for all of them
    from the first step.
    """

    warm_start: float = Field(0.15, ge=0, le=1)


class Ctc(Task):
    """Loss -log p(y | x) in nats, summed over the labels (Graves, Fernandez, Gomez & Schmidhuber 2006).

        p(y | x) = sum over all paths that collapse to y of prod_t softmax(prediction_t)[path_t]

    A path has a class a frame: a label or the blank, 0. It collapses by merging repeats, then dropping blanks.
    The prediction is [B,T',n_out], a vector at each frame of the backbone. y [B,U] int64 holds labels from 1, NOT_ASKED
    behind the end of a row. The metric is the label error rate of the best path: edits to the reference / its labels.

    Most paths are mostly blank, so that the blank is learned first, everywhere, and a network may stay there for
    thousands of steps (Zeyer, Schlueter & Ney 2021, arXiv:2105.14849). Therefore training begins with one path alone:
    blank, label, blank, ..., label, blank, spread evenly over the frames (the flat start of hidden Markov models; Young
    et al., The HTK Book). Over the share `warm_start` of the training it passes to all paths:

        loss = (1 - a) CTC - a sum_t log softmax(prediction_t)[even_t],    a = [1 - done / warm_start]_+

    No alignment is needed: the even path is wrong in another way in every row, and what is right on the average is
    enough to begin from. Its blanks are needed: without them the blank is unlearned, and is then as slow to come back.

    A row with fewer frames than `fewest_frames` has no path: its loss is inf, which is the truth, and not hidden as 0;
    its gradient is 0 (`ops.ctc_loss`).
    `make` refuses such training data with a reason (`fits`).
    """

    metric = Metric("label error rate", "lower")
    keys_of = CtcKeys
    still = 0.0  # the share of the training in which convolutions over samples stay as they were pretrained

    def __init__(
        self, view: View, backbone: nn.Module, n_out: int, *, own_head: bool = False, taps: int = 0,
        keys: CtcKeys | None = None,
    ) -> None:  # fmt: skip
        super().__init__(view, backbone, n_out, own_head=own_head, taps=taps)
        self.keys, self.units = keys or CtcKeys(), Units(())

    def forward(self, batch: Batch) -> Tensor:
        if isinstance(self.backbone, Wav2Vec2):
            self.backbone.frozen = self.training and self.done < self.still
        return super().forward(batch)

    def pool(self, frames: Seq, batch: Batch) -> Tensor:
        return frames.zeroed()

    def criterion(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        asked = batch["y"] != NOT_ASKED
        loss = ops.ctc_loss(prediction, batch["y"], self.lengths(batch), asked.sum(1)).sum()
        if self.training and self.done < self.keys.warm_start:
            path = self._even(batch, prediction.shape[1])
            even = F.cross_entropy(prediction.transpose(1, 2), path, ignore_index=NOT_ASKED, reduction="sum")
            loss = torch.lerp(even.to(loss.dtype), loss, self.done / self.keys.warm_start)
        return loss, asked.sum().to(loss.dtype)

    def each(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        found = best_path(prediction, self.lengths(batch))
        rows = _labels(batch)
        wrong = [errors(row, other) for row, other in zip(rows, found, strict=True)]
        return prediction.new_tensor(wrong), prediction.new_tensor([len(row) for row in rows])

    def further(self, told: Iterable[tuple[Tensor, Batch]]) -> dict[str, Any]:
        """`speech.score` of the best paths: {"wer", "cer", "normaliser", "utterances"}; rates are ratios."""
        said, heard = [], []
        for prediction, batch in told:
            said += [self.units.decode(row) for row in _labels(batch)]
            heard += [self.units.decode(row) for row in best_path(prediction, self.lengths(batch))]
        return asdict(score(said, heard)) if self.units.pieces else {}

    def meet(self, dataset: DataSet) -> None:
        self.units = dataset.units or Units(tuple(dataset.labels))

    def identity(self) -> dict[str, Any]:
        return {"ctc": self.keys.model_dump(mode="json"), **({"still": self.still} if self.still else {})}

    def _even(self, batch: Batch, frames: int) -> Tensor:
        """Each row's labels with blanks around them, spread evenly over its frames: [B,frames] int64, NOT_ASKED behind
        its last one.
        """
        y, lengths = batch["y"], self.lengths(batch)[:, None]
        t = torch.arange(frames, device=y.device)
        at = t * (2 * (y != NOT_ASKED).sum(1, keepdim=True) + 1) // lengths.clamp(min=1)  # blank, label, blank, ...
        labels = y.gather(1, (at // 2).clamp(max=y.shape[1] - 1)).where(at % 2 == 1, BLANK)
        return labels.where(t < lengths, NOT_ASKED)

    def lengths(self, batch: Batch) -> Tensor:
        """Frames of the backbone for each row, [B] int64."""
        assert isinstance(self.backbone, Layer)
        n = batch["lengths"].tolist() if "lengths" in batch else [batch["x"].shape[1]] * len(batch["x"])
        return torch.tensor([self.backbone.frames(frames) for frames in n], device=batch["x"].device)


def _labels(batch: Batch) -> list[list[int]]:
    """The labels of each row."""
    return [row[row != NOT_ASKED].tolist() for row in batch["y"]]


def best_path(prediction: Tensor, lengths: Tensor) -> list[list[int]]:
    """The likeliest class of each frame, repeats merged and blanks dropped. prediction [B,T,n_out], lengths [B]."""
    found = []
    for row, n in zip(prediction.argmax(-1), lengths.tolist(), strict=True):
        merged = row[:n].unique_consecutive()
        found.append(merged[merged != BLANK].tolist())
    return found


def errors(reference: list[int], found: list[int]) -> int:
    """Substitutions, insertions and deletions that make `found` of the reference, the fewest (Levenshtein 1966)."""
    return sum(edits(reference, found))


def fewest_frames(y: Tensor) -> Tensor:
    """Frames that each row of labels [N,U] takes at least, [N]: one a label, and a blank between two that are equal."""
    asked = y != NOT_ASKED
    return asked.sum(1) + ((y[:, 1:] == y[:, :-1]) & asked[:, 1:]).sum(1)


def fits(dataset: DataSet, backbone: Layer) -> None:
    """Refuses a backbone that leaves utterances of the training part fewer frames than their labels take, by row."""
    split = dataset.train
    n = [dataset.shape[0]] * len(split) if split.lengths is None else split.lengths.tolist()
    # no new tensors: weights are also counted on the meta device, where tensors have no values
    rows = zip((backbone.frames(frames) for frames in n), fewest_frames(split.y).tolist(), strict=True)
    short = [f"row {row} has {frames} of {needed}" for row, (frames, needed) in enumerate(rows) if frames < needed]
    if short:
        raise CannotTake(
            f"gives fewer frames than labels take in {len(short)} of {len(split):,} rows of {dataset.name}'s training "
            f"part: {', '.join(short)}; subsample less, or leave the rows out"
        )
