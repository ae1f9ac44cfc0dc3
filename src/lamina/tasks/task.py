"""Task: a backbone between a stem and a head, with a loss and a metric that do not depend on batching."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, cast

from torch import Tensor, nn

from lamina.core import Layer, Seq, Serial
from lamina.data import View
from lamina.layers import Linear

__all__ = ["Batch", "Metric", "Task"]

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Metric:
    """What is reported, and which way is better."""

    name: Literal["accuracy", "mse"]
    better: Literal["higher", "lower"]


class Task(nn.Module, ABC):
    """batch {"x", "y"[, "lengths"]} -> prediction [B,n_out].

    Frame and sequence models: stem [B,T,d_view] -> [B,T,d_in], backbone [B,T,d_in] -> [B,T',d_out], one vector a row
    by `pool`, head [B,d_out] -> [B,n_out]. Image models (own_head) map images to [B,n_out] alone.

    Losses and scores are sums over the batch with the count of targets beside them: whoever has several batches, or
    several processes, adds both and divides once.
    """

    metric: Metric

    def __init__(self, view: View, backbone: nn.Module, n_out: int, *, own_head: bool = False) -> None:
        super().__init__()
        self.view, self.n_out = view, n_out
        self.stem = None if own_head else Linear(view.d_in, cast(int, backbone.d_in))
        self.backbone = backbone
        self.head = None if own_head else nn.Linear(cast(int, backbone.d_out), n_out)

    def forward(self, batch: Batch) -> Tensor:
        seen = self.view(batch["x"], batch.get("lengths"))
        if self.stem is None or self.head is None:
            return self.backbone(seen)
        return self.head(self.pool(self.backbone(self.stem(seen))))

    def encoder(self) -> Layer:
        """The stem and the backbone as one streaming layer; the same weights, not copies."""
        if self.stem is None:
            raise TypeError("an image model has no frames to encode")
        return Serial(self.stem, cast(Layer, self.backbone))

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss summed over the batch's targets, and their count; both scalars."""
        return self.criterion(self(batch), batch)

    @abstractmethod
    def pool(self, frames: Seq) -> Tensor:
        """One vector a row: [B,T,D] -> [B,D], of real frames only."""

    @abstractmethod
    def criterion(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of a prediction [B,n_out], summed, and the count of targets."""

    @abstractmethod
    def judge(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The metric of a prediction [B,n_out], summed, and the count of targets."""
