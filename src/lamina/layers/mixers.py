"""MIXERS: the layers that carry information along time, each a line here and interchangeable in every stack."""

from __future__ import annotations

import functools
import typing
from dataclasses import dataclass, field
from typing import Any

from lamina.core import Layer
from lamina.layers.attention import ChunkAttention, WindowAttention
from lamina.layers.conv import Conv
from lamina.layers.recurrent import GRU, LSTM, RNN

__all__ = ["MIXERS", "Mixer"]


@dataclass(frozen=True)
class Mixer:
    """A layer [B,T,D] -> [B,T,D] at ratio 1: its class, its paper, and the keys that a config may set."""

    layer: type[Layer]
    paper: str
    year: int
    family: str
    idea: str
    use: str
    avoid: str
    keys: dict[str, Any] = field(default_factory=dict)  # constructor argument -> default

    def build(self, d_model: int, keys: dict[str, Any]) -> Layer:
        hints = self.hints
        widths = {"d_in": d_model, "d_out": d_model} if "d_in" in hints else {"d_model": d_model}
        make: Any = self.layer
        return make(**widths, **{k: v for k, v in keys.items() if k in self.keys})

    @functools.cached_property
    def hints(self) -> dict[str, Any]:
        """The constructor's argument types."""
        return typing.get_type_hints(self.layer.__init__)


MIXERS: dict[str, Mixer] = {
    "window_attention": Mixer(
        WindowAttention, "Attention Is All You Need (Vaswani et al.)", 2017, "attention",
        "Each frame weighs the frames of a window by likeness and takes their mean.",
        "Content must be looked up anywhere in a bounded past.",
        "The state must be small: the cache holds left + right frames of keys and values.",
        {"n_heads": 4, "left": 128, "right": 0, "rotary": True},
    ),
    "chunk_attention": Mixer(
        ChunkAttention, "Developing Real-time Streaming Transformer Transducer (Chen et al.)", 2020, "attention",
        "Frames come in chunks; each sees its whole chunk and some frames before it.",
        "Audio arrives in blocks anyway: lookahead inside a chunk costs no further delay.",
        "Every frame must answer at once: the first frame of a chunk waits for the last.",
        {"n_heads": 4, "chunk": 16, "left": 64, "rotary": True},
    ),
    "lstm": Mixer(
        LSTM, "Long Short-Term Memory (Hochreiter & Schmidhuber)", 1997, "recurrence",
        "Gates decide what a cell keeps, writes and shows, so errors survive long gaps.",
        "A constant state and a short step count; devices.",
        "Long inputs must train in parallel over time.",
    ),
    "gru": Mixer(
        GRU, "Learning Phrase Representations using RNN Encoder-Decoder (Cho et al.)", 2014, "recurrence",
        "An LSTM with two gates and no separate cell.",
        "The state must be half of an LSTM's.",
        "The task counts or needs a protected cell.",
    ),
    "rnn": Mixer(
        RNN, "Finding Structure in Time (Elman)", 1990, "recurrence",
        "The state is a squashed mix of the frame and the state before.",
        "As the baseline that shows what gates are for.",
        "Anything must be remembered for more than some tens of frames.",
    ),
    "conv": Mixer(
        Conv, "Backpropagation Applied to Handwritten Zip Code Recognition (LeCun et al.)", 1989, "convolution",
        "The same small filter at every frame.",
        "What matters is near: textures, transients, formants.",
        "Far frames matter: the reach is kernel - 1 frames a layer.",
        {"kernel": 5, "right": 0},
    ),
}  # fmt: skip
