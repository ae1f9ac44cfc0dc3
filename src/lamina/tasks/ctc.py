"""Connectionist temporal classification: a row of labels from a longer row of frames, without an alignment."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.core import Layer, Seq
from lamina.data import NOT_ASKED, CannotTake, DataSet
from lamina.data.audio import needs
from lamina.data.speech import BLANK
from lamina.tasks.task import Batch, Metric, Task

__all__ = ["Ctc", "best_path", "errors", "fewest_frames", "fits"]


class Ctc(Task):
    """Loss -log p(y | x) in nats, summed over the labels (Graves, Fernandez, Gomez & Schmidhuber 2006).

        p(y | x) = sum over all paths that collapse to y of prod_t softmax(prediction_t)[path_t]

    A path has a class a frame: a label or the blank, 0. It collapses by merging repeats, then dropping blanks.
    The prediction is [B,T',n_out], a vector at each frame of the backbone. y [B,U] int64 holds labels from 1, NOT_ASKED
    behind the end of a row. The metric is the label error rate of the best path: edits to the reference / its labels.

    A row with fewer frames than `fewest_frames` has no path: its loss is inf, which is the truth, and not hidden as 0.
    `make` refuses such training data with a reason (`fits`).
    """

    metric = Metric("label error rate", "lower")

    def pool(self, frames: Seq, batch: Batch) -> Tensor:
        return frames.zeroed()

    def criterion(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        asked = batch["y"] != NOT_ASKED
        # in float32 at least: a path's probability is a sum over all frames
        log_p = prediction.to(torch.promote_types(prediction.dtype, torch.float32)).log_softmax(-1).transpose(0, 1)
        labels = batch["y"].where(asked, BLANK)
        loss = F.ctc_loss(log_p, labels, self.lengths(batch), asked.sum(1), BLANK, reduction="sum")
        return loss, asked.sum().to(loss.dtype)

    def each(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        found = best_path(prediction, self.lengths(batch))
        rows = [row[row != NOT_ASKED].tolist() for row in batch["y"]]
        wrong = [errors(row, other) for row, other in zip(rows, found, strict=True)]
        return prediction.new_tensor(wrong), prediction.new_tensor([len(row) for row in rows])

    def lengths(self, batch: Batch) -> Tensor:
        """Frames of the backbone for each row, [B] int64."""
        assert isinstance(self.backbone, Layer)
        n = batch["lengths"].tolist() if "lengths" in batch else [batch["x"].shape[1]] * len(batch["x"])
        return torch.tensor([self.backbone.frames(frames) for frames in n], device=batch["x"].device)


def best_path(prediction: Tensor, lengths: Tensor) -> list[list[int]]:
    """The likeliest class of each frame, repeats merged and blanks dropped. prediction [B,T,n_out], lengths [B]."""
    found = []
    for row, n in zip(prediction.argmax(-1), lengths.tolist(), strict=True):
        merged = row[:n].unique_consecutive()
        found.append(merged[merged != BLANK].tolist())
    return found


def errors(reference: list[int], found: list[int]) -> int:
    """Substitutions, deletions and insertions that make `found` of the reference, the fewest (Levenshtein 1966)."""
    jiwer = needs("jiwer", "the label error rate")
    counted = jiwer.process_words(" ".join(map(str, reference)), " ".join(map(str, found)))
    return int(counted.substitutions + counted.deletions + counted.insertions)


def fewest_frames(y: Tensor) -> Tensor:
    """Frames that each row of labels [N,U] takes at least, [N]: one a label, and a blank between two that are equal."""
    asked = y != NOT_ASKED
    return asked.sum(1) + ((y[:, 1:] == y[:, :-1]) & asked[:, 1:]).sum(1)


def fits(dataset: DataSet, backbone: Layer) -> None:
    """Refuses a backbone that leaves an utterance of the training part fewer frames than its labels take."""
    split = dataset.train
    n = [dataset.shape[0]] * len(split) if split.lengths is None else split.lengths.tolist()
    # no new tensors: weights are also counted on the meta device, where tensors have no values
    for row, (frames, needed) in enumerate(zip(n, fewest_frames(split.y).tolist(), strict=True)):
        if backbone.frames(frames) < needed:
            raise CannotTake(
                f"gives {backbone.frames(frames)} frames for the {int((split.y[row] != NOT_ASKED).sum())} labels of "
                f"{dataset.name}'s row {row}, which take {needed}; subsample less"
            )
