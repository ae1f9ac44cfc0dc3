"""Masked language modelling: the hidden words from both their sides, and whether two sentences belong together."""

from __future__ import annotations

from collections.abc import Iterable
from math import exp
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core import Layer, Seq
from lamina.data import NOT_ASKED, View
from lamina.layers import SegmentEmbedding
from lamina.layers.projection import Projection
from lamina.models.bert import word_head
from lamina.tasks.frames import PerFrame
from lamina.tasks.task import Batch, Metric

__all__ = ["MaskedLM", "Told"]


class Told(NamedTuple):
    """Logits of the A hidden words [A,n_vocab], and of the F pairs that are asked about [F,2]."""

    words: Tensor
    follows: Tensor


class MaskedLM(PerFrame):
    """BERT's two questions at once (Devlin et al. 2018, arXiv:1810.04805); the batches are `data.hide.ask`'s.

        words    W_e norm(gelu(W h_t + b)) + c  at the hidden words, W_e the stem's own table
        follows  W tanh(V h_0 + v) + w  at [CLS]: 0 the second sentence follows the first, 1 it was drawn at random

    The loss is the mean cross-entropy of the hidden words, and of the pairs; a pair weighs as much as its row has
    hidden words, so that sums over any batches agree. The metric is the share of hidden words that are told right.
    """

    metric = Metric("accuracy", "higher")

    def __init__(self, view: View, backbone: nn.Module, n_out: int, *, own_head: bool = False, taps: int = 0) -> None:
        super().__init__(view, backbone, n_out, own_head=own_head, taps=taps)
        stem = next(layer for layer in cast(nn.Module, self.stem).modules() if isinstance(layer, SegmentEmbedding))
        d_model = cast(int, backbone.d_out)
        self.head = word_head(d_model, stem.table)
        self.follows = nn.Sequential(Projection(d_model, d_model), nn.Tanh(), Projection(d_model, 2))

    def forward(self, batch: Batch) -> Told:  # type: ignore[override]
        frames = self.backbone(cast(Layer, self.stem)(self.view(batch["x"], batch.get("lengths"))))
        words = cast(Layer, self.head)(Seq.of(self.pool(frames, batch)[None])).values[0]
        return Told(words, self.follows(frames.values[_paired(batch), 0]))

    def tell(self, x: Seq) -> Seq:
        """Logits of every token, [B,T] -> [B,T,n_vocab]."""
        return cast(Layer, self.head)(self.encoder()(x))

    def asked(self, batch: Batch) -> Tensor:
        words = super().asked(batch)
        words[:, 0] = False  # the question there is about the sentences
        return words

    def criterion(self, prediction: Told, batch: Batch) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        loss, count = super().criterion(prediction.words, batch)
        paired = _paired(batch)
        each = F.cross_entropy(prediction.follows, batch["y"][paired, 0].long(), reduction="none")
        return loss + (each * self.asked(batch).sum(1)[paired]).sum(), count

    def each(self, prediction: Told, batch: Batch) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return self.by_row((prediction.words.argmax(-1) == self.targets(batch)).float(), batch)

    def further(self, told: Iterable[tuple[Told, Batch]]) -> dict[str, float]:  # type: ignore[override]
        """The perplexity of the hidden words, and the share of pairs that are told right where there are any."""
        nats, right = [], []
        for prediction, batch in told:
            nats.append(F.cross_entropy(prediction.words, self.targets(batch), reduction="none"))
            right.append((prediction.follows.argmax(-1) == batch["y"][_paired(batch), 0]).float())
        pairs = torch.cat(right)
        found = {"perplexity": exp(min(float(torch.cat(nats).mean()), 700.0))}
        return found | ({"next_sentence_accuracy": float(pairs.mean())} if len(pairs) else {})


def _paired(batch: Batch) -> Tensor:
    """The rows that hold two sentences, [B]."""
    return batch["y"][:, 0] != NOT_ASKED
