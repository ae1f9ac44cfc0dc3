"""Pure functions with state in and state out; the registry chooses the implementation."""

from lamina.ops._attention import Relative, attention
from lamina.ops._ctc import ctc_loss
from lamina.ops._delta_rule import delta_rule
from lamina.ops._gelu import gelu
from lamina.ops._group_norm import group_norm
from lamina.ops._layer_norm import layer_norm
from lamina.ops._linear import linear, packed_weights
from lamina.ops._recurrent import gru, lstm, rnn
from lamina.ops._retention import retention
from lamina.ops._rms_norm import rms_norm
from lamina.ops._rotate import rotate
from lamina.ops._selective_scan import selective_scan
from lamina.ops._short_conv import short_conv
from lamina.ops._swiglu import swiglu
from lamina.ops._window import window_rows
from lamina.ops.registry import use

__all__ = [
    "Relative", "attention", "ctc_loss", "delta_rule", "gelu", "group_norm", "gru", "layer_norm", "linear", "lstm",
    "packed_weights", "retention", "rms_norm", "rnn", "rotate", "selective_scan", "short_conv", "swiglu", "use",
    "window_rows",
]  # fmt: skip
