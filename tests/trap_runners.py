"""Traps around a layer: composites without delays, streamers that flush wrongly, a step graph that is not flat."""

from __future__ import annotations

from torch import nn

from lamina.core import Layer, Parallel, Seq, Serial, Streamer
from trap_layers import D


class Unaligned(Parallel):
    """A skip branch that does not wait for the lookahead of the other."""

    def _align(self):
        spec, waits = super()._align()
        return spec, [0 for _ in waits]


class Unphased(Serial):
    """A stride that does not wait for its phase behind a lookahead."""

    def _phase(self):
        spec, waits = super()._phase()
        return spec, [0 for _ in waits]


class KeepsLast(Streamer):
    """The delayed frames never come out."""

    def flush(self) -> Seq:
        self.reset()
        return Seq.absent(self.batch, 0, (D,), self.like)


class FlushesZeros(Streamer):
    """Frames of zeros, not absent ones, bring the delayed frames out."""

    ending = False

    def flush(self) -> Seq:
        self.ending = True
        last = super().flush()
        self.ending = False
        return last

    def _advance(self, x: Seq) -> Seq:
        return super()._advance(Seq.of(x.zeroed()) if self.ending else x)


class DictGraph(nn.Module):
    """A step graph whose last argument is the state's dict: torch.onnx.export reads it as keyword arguments."""

    inputs, outputs = ("values", "mask", "state.sum"), ("frames", "frames_mask", "new.sum")

    def __init__(self, layer: Layer, state) -> None:
        super().__init__()
        self.layer = layer

    def arguments(self, values, mask, total):
        return values, mask, {"sum": total}

    def forward(self, values, mask, state):
        y, new = self.layer.step(Seq(values, mask), state)
        return y.values, y.mask, new["sum"]
