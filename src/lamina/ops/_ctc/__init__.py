"""Connectionist temporal classification: how unlikely a row of labels is, over all its alignments with the frames."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lamina.ops._ctc import aten, ref
from lamina.ops._shapes import Shapes, working_dtype
from lamina.ops.registry import Impl, Op

__all__ = ["CTC_LOSS", "ctc_loss"]

CTC_LOSS = Op("ctc_loss", Impl("aten", aten.ctc_loss, aten.refuses), Impl("ref", ref.ctc_loss, traces=True))
_SHAPES = Shapes("ctc_loss", "x: B T n_out", "y: B U", "lengths: B", "n_labels: B")


def ctc_loss(x: Tensor, y: Tensor, lengths: Tensor, n_labels: Tensor, *, impl: str = "auto") -> Tensor:
    """-log p(y | x) in nats, a row each (Graves, Fernandez, Gomez & Schmidhuber 2006):

        p(y | x) = sum over all paths that collapse to y of prod_t softmax(x_t)[path_t]

    A path has a class a frame, the blank 0 or a label; it collapses by merging repeats, then dropping blanks.
    x [B,T,n_out] logits, of which row b has lengths[b] frames; y [B,U] integers 1..n_out-1, of which it has n_labels[b]
    -> [B], float32 or wider. What stands behind the ends is not read, and its gradient is 0.
    A row that no path fits (too few frames: a label takes one, and a blank between two that are equal) costs inf, and
    its gradient is 0: in a batch it spoils no other row's.
    """
    _SHAPES(x, y, lengths, n_labels)
    frames = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
    labels = torch.arange(y.shape[1], device=y.device) < n_labels[:, None]
    wide = x.to(working_dtype(x)).where(frames[..., None], 0.0)
    inputs = (wide, y.where(labels, 0), lengths, n_labels)
    run: Callable[..., Tensor] = CTC_LOSS.choose(impl, *inputs).run
    return run(*inputs)
