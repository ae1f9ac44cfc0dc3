"""MIXERS: the layers that carry information along time, each a line here and interchangeable in every stack."""

from __future__ import annotations

import functools
import typing
from dataclasses import dataclass, field
from typing import Any

from lamina.core import Layer
from lamina.layers.attention import CausalAttention, ChunkAttention, WindowAttention
from lamina.layers.conv import Conv
from lamina.layers.delta import DeltaNet
from lamina.layers.recurrent import GRU, LSTM, RNN
from lamina.layers.retention import GatedRetention, LinearAttention, Retention
from lamina.layers.ssm import Mamba

__all__ = ["MIXERS", "Mixer"]


@dataclass(frozen=True)
class Mixer:
    """A layer [B,T,D] -> [B,T,D] at ratio 1: its class, its paper, the keys that a config may set, and fixed ones."""

    layer: type[Layer]
    paper: str
    year: int
    family: str
    idea: str
    use: str
    avoid: str
    keys: dict[str, Any] = field(default_factory=dict)  # constructor argument -> default
    fixed: dict[str, Any] = field(default_factory=dict)  # constructor argument -> value

    def build(self, d_model: int, keys: dict[str, Any]) -> Layer:
        hints = self.hints
        widths = {"d_in": d_model, "d_out": d_model} if "d_in" in hints else {"d_model": d_model}
        make: Any = self.layer
        return make(**widths, **{k: v for k, v in keys.items() if k in self.keys}, **self.fixed)

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
        {"n_heads": 4, "left": 128, "right": 0, "rotary": True, "relative": False, "short_conv": 0},
    ),
    "causal_attention": Mixer(
        CausalAttention, "Attention Is All You Need (Vaswani et al.)", 2017, "attention",
        "Each frame weighs all frames before it, as far as a cache of `capacity` frames holds them.",
        "Anything ever seen must be found again word for word.",
        "Memory is small: the cache holds capacity frames a layer, and steps slow down as it fills.",
        {"n_heads": 4, "capacity": 4096, "rotary": True, "relative": False, "short_conv": 0},
    ),
    "chunk_attention": Mixer(
        ChunkAttention, "Developing Real-time Streaming Transformer Transducer (Chen et al.)", 2020, "attention",
        "Frames come in chunks; each sees its whole chunk and some frames before it.",
        "Audio arrives in blocks anyway: lookahead inside a chunk costs no further delay.",
        "Every frame must answer at once: the first frame of a chunk waits for the last.",
        {"n_heads": 4, "chunk": 16, "left": 64, "rotary": True, "relative": False, "short_conv": 0},
    ),
    "mamba": Mixer(
        Mamba, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces (Gu & Dao)", 2023, "state space",
        "A bank of leaky integrators whose step size, input and output each frame chooses.",
        "Long inputs, a constant state, and the frame itself says what is worth keeping.",
        "Many exact pairs must be recalled: the state is small and mixes them.",
        {"d_state": 16, "expand": 2, "short_conv": 4, "selective": True},
    ),
    "retention": Mixer(
        Retention, "Retentive Network: A Successor to Transformer (Sun et al.)", 2023, "retention and delta",
        "Attention without softmax whose memory fades at a fixed rate a head: one matrix holds the past.",
        "Long streams at a constant cost, and training in parallel.",
        "What to forget depends on the content.",
        {"n_heads": 4, "value_factor": 1, "short_conv": 0},
    ),
    "gated_retention": Mixer(
        GatedRetention, "You Only Cache Once (Sun et al.)", 2024, "retention and delta",
        "Retention whose rate of fading each frame chooses.",
        "As retention, with content that says when to forget.",
        "Keys are overwritten often: it can fade everything, but not correct one entry.",
        {"n_heads": 4, "value_factor": 1, "short_conv": 0},
    ),
    "deltanet": Mixer(
        DeltaNet, "Parallelizing Linear Transformers with the Delta Rule (Yang et al.)", 2024, "retention and delta",
        "Before a value is written, what its key held is taken out: a memory that can be corrected.",
        "Associations are recalled and changed; states are tracked (beta_max=2).",
        "Old content should fade by itself: nothing does, see gated_deltanet.",
        {"n_heads": 4, "value_factor": 1, "beta_max": 1.0, "short_conv": 0},
    ),
    "gated_deltanet": Mixer(
        DeltaNet, "Gated Delta Networks (Yang, Kautz & Hatamizadeh)", 2024, "retention and delta",
        "The delta rule with a decay that each frame chooses, and a gate on what is read.",
        "Associations are recalled and changed, and whole topics end.",
        "Every multiplication counts: it is the dearest of its family.",
        {"n_heads": 4, "value_factor": 1, "beta_max": 1.0, "short_conv": 0},
        {"gated": True},
    ),
    "linear_attention": Mixer(
        LinearAttention, "Transformers are RNNs (Katharopoulos et al.)", 2020, "retention and delta",
        "A feature map in place of the softmax turns attention into one running sum.",
        "As the baseline of its family, without decay and without correction.",
        "Streams without end: nothing fades, so new entries drown in old ones.",
        {"n_heads": 4, "value_factor": 1, "short_conv": 0},
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
