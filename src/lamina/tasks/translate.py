"""Translation: the words of a target, each from the source and the words before it."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core import Layer, Seq
from lamina.data import NOT_ASKED, View
from lamina.layers import Embedding, EncoderDecoder
from lamina.tasks.frames import PerFrame
from lamina.tasks.search import Teller
from lamina.tasks.task import Batch, Metric

__all__ = ["Translate"]

SMOOTHING = 0.1  # Vaswani et al. 2017


class Translate(PerFrame):
    """Cross-entropy over the target's words, a tenth of it spread over all (Szegedy et al. 2015, arXiv:1512.00567).

    x [B,S] the source, y [B,U] the target from its beginning to its end, NOT_ASKED behind: the decoder reads y[:-1] and
    tells y[1:]. Both sides and the output share one table of words (Press & Wolf 2016, arXiv:1608.05859). The metric is
    the accuracy of the next word, the right words before it given.
    """

    metric = Metric("accuracy", "higher")

    def __init__(self, view: View, backbone: nn.Module, n_out: int, *, own_head: bool = False, taps: int = 0) -> None:
        super().__init__(view, backbone, n_out, own_head=own_head, taps=taps)
        assert self.head is not None
        self.head.weight = cast(Embedding, self.stem).table.weight

    def forward(self, batch: Batch) -> Tensor:
        assert self.stem is not None
        assert self.head is not None
        source = self.stem(self.view(batch["x"], batch.get("lengths")))
        known = _words(batch)[:, :-1]
        frames = self.backbone(self.stem(Seq(known.long(), known != NOT_ASKED)), source)
        return self.head(self.pool(frames, batch))

    def criterion(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        loss = F.cross_entropy(prediction, self.targets(batch), reduction="sum", label_smoothing=SMOOTHING)
        return loss, prediction.new_tensor(float(len(prediction)))

    def each(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.by_row((prediction.argmax(-1) == self.targets(batch)).float(), batch)

    def asked(self, batch: Batch) -> Tensor:
        return _words(batch)[:, 1:] != NOT_ASKED

    def targets(self, batch: Batch) -> Tensor:
        return _words(batch)[:, 1:][self.asked(batch)].long()

    def teller(self, begin: int, end: int) -> Teller:
        """For `search`: the same weights, one word after another."""
        backbone, stem, head = cast(EncoderDecoder, self.backbone), cast(Layer, self.stem), cast(nn.Module, self.head)
        return Teller(lambda x: backbone.encoder(stem(x)), stem, backbone.decoder, head, begin, end)


def _words(batch: Batch) -> Tensor:
    """y up to the end of the longest row."""
    y = batch["y"]
    longest = int((y != NOT_ASKED).sum(1).amax()) if len(y) else 2
    return y[:, : max(2, longest)]
