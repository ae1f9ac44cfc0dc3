"""Contrastive pretraining of structures that hear frames of features, as wav2vec 2.0's of samples."""

from __future__ import annotations

from typing import cast

from pydantic import Field
from torch import Tensor, nn

from lamina.core import Layer, Seq
from lamina.data import View
from lamina.layers import SpanMask
from lamina.tasks.contrastive import Contrastive, ContrastKeys
from lamina.tasks.task import Batch

__all__ = ["ContrastFrameKeys", "ContrastiveFrames"]


class ContrastFrameKeys(ContrastKeys):
    """Those of contrastive pretraining, and of the masks: about half of the frames, in spans of 0.2 s at 25 frames a
    second, as published for frames of 20 ms.
    """

    mask: float = Field(0.13, gt=0, lt=1, description="the chance of a frame to begin a masked span")
    span: int = Field(5, ge=1, description="frames of a masked span")


class ContrastiveFrames(Contrastive):
    """`Contrastive` where z_t is the frame of features itself: what the stem makes of it is masked, and the code is of
    the features, which nothing can learn to make alike. A structure that hears no later frame tells what comes.

    The vector at masked frames and the codes stay behind; the stem and the structure go on to fine-tuning.
    """

    keys_of = ContrastFrameKeys

    def __init__(
        self, view: View, backbone: nn.Module, n_out: int, *, own_head: bool = False, taps: int = 0,
        keys: ContrastFrameKeys | None = None,
    ) -> None:  # fmt: skip
        found = keys or ContrastFrameKeys()
        super().__init__(view, backbone, n_out, own_head=own_head, taps=taps, keys=found)
        self.masked = SpanMask(cast(int, backbone.d_in), found.mask, found.span)

    @property
    def d_heard(self) -> int:
        return self.view.d_in

    @property
    def mask(self) -> SpanMask:
        return self.masked

    def hear(self, batch: Batch) -> Seq:
        return cast(Seq, self.view(batch["x"], batch.get("lengths")))

    def relate(self, z: Seq, hidden: Tensor) -> Seq:
        stem, backbone = cast(Layer, self.stem), cast(Layer, self.backbone)
        return cast(Seq, backbone(self.masked.hide(stem(z), hidden)))
