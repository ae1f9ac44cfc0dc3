"""Task: a backbone between a stem and a head, with a loss and a metric that do not depend on batching."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from torch import Tensor, nn

from lamina.core import Config, Identity, Layer, Residual, Seq, Serial
from lamina.data import DataSet, View
from lamina.layers import Embedding, Linear, SegmentEmbedding, ShortConv
from lamina.layers.projection import Projection

__all__ = ["Batch", "Metric", "Task"]

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Metric:
    """What is reported, and which way is better."""

    name: Literal["accuracy", "mse", "bits per byte", "label error rate", "coverage", "denoising error"]
    better: Literal["higher", "lower"]


class Task(nn.Module, ABC):
    """batch {"x", "y"[, "lengths"]} -> prediction [A,n_out], a row for each answer that is asked for.

    Frame and sequence models: stem [B,T,d_view] -> [B,T,d_in] (an embedding where the frames are tokens; of words, with
    the sentence that they stand in; nothing where the structure takes samples), backbone [B,T,d_in] -> [B,T',d_out],
    the vectors of the answers by `pool`, head [A,d_out] -> [A,n_out]. Image models (own_head) map images to [B,n_out]
    alone. One answer a row, A = B, unless a task says otherwise.

    taps > 0 puts a short convolution of so many taps behind the stem, in a residual: x + conv(x), causal.

    Losses and scores are sums over the batch with the count of targets beside them: whoever has several batches, or
    several processes, adds both and divides once.
    """

    metric: Metric
    done = 0.0  # the share of the training that is behind, 0 to 1; set before each step
    betas = (0.9, 0.999)  # of AdamW
    keys_of: type[Config] | None = None  # settings of its own, given to its constructor as `keys`; None for none

    def __init__(self, view: View, backbone: nn.Module, n_out: int, *, own_head: bool = False, taps: int = 0) -> None:
        super().__init__()
        self.view, self.n_out = view, n_out
        self.stem = None if own_head else _stem(view, cast(int, backbone.d_in), taps)
        self.backbone = backbone
        self.head = None if own_head else Projection(cast(int, backbone.d_out), n_out)

    def forward(self, batch: Batch) -> Tensor:
        seen = self.view(batch["x"], batch.get("lengths"))
        if self.stem is None or self.head is None:
            return self.backbone(seen)
        return self.head(self.pool(self.backbone(self.stem(seen)), batch))

    def encoder(self) -> Layer:
        """The stem and the backbone as one streaming layer; the same weights, not copies."""
        if self.stem is None:
            raise TypeError("an image model has no frames to encode")
        return Serial(self.stem, cast(Layer, self.backbone))

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss summed over the batch's targets, and their count; both scalars."""
        return self.criterion(self(batch), batch)

    def judge(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The metric summed over the batch's answers, and their count; both scalars."""
        found, count = self.each(prediction, batch)
        return found.sum(), count.sum()

    def further(self, told: Iterable[tuple[Tensor, Batch]]) -> dict[str, Any]:
        """What else is worth knowing of the predictions over a part, as plain JSON by name; nothing unless a task says
        otherwise.
        """
        return {}

    def identity(self) -> dict[str, Any]:
        """What a run must share with this task to go on with it, beside model, data and settings; plain JSON."""
        return {}

    def meet(self, dataset: DataSet) -> None:
        """Called once with the data that it is made for; nothing unless a task says otherwise."""

    def watch(self, loss: Sequence[tuple[int, float]], dev: Sequence[tuple[int, float]]) -> str | None:
        """What a person should know while it trains, None where all is well: a sentence without numbers, said once.

        loss and dev: those of `History` so far. Asked whenever the dev part has been scored.
        """
        return None

    def stepped(self) -> None:
        """Called after every update of the weights; nothing unless a task says otherwise."""

    def ended(self) -> None:
        """Called after the last update, before the weights are kept; nothing unless a task says otherwise."""

    @abstractmethod
    def pool(self, frames: Seq, batch: Batch) -> Tensor:
        """The vectors that answer, of real frames only: [B,T,D] -> [A,D]."""

    @abstractmethod
    def criterion(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of a prediction [A,n_out], summed, and the count of targets."""

    @abstractmethod
    def each(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The metric of a prediction [A,n_out] summed over each row of the batch, and the counts; both [B]."""


def _stem(view: View, width: int, taps: int) -> Layer:
    stem: Layer
    if view.whole:
        stem = Identity(view.d_in)
    elif view.n_vocab is None:
        stem = Linear(view.d_in, width)
    elif view.separator is None:
        stem = Embedding(view.n_vocab, width)
    else:
        stem = SegmentEmbedding(view.n_vocab, width, view.separator)
    return Serial(stem, Residual(ShortConv(width, taps))) if taps else stem
