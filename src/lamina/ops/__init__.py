"""Pure functions with state in and state out; the registry chooses the implementation."""

from lamina.ops._attention import attention, rotate
from lamina.ops._delta_rule import delta_rule
from lamina.ops._recurrent import gru, lstm, rnn
from lamina.ops._retention import retention
from lamina.ops._selective_scan import selective_scan
from lamina.ops._short_conv import short_conv
from lamina.ops.registry import use

__all__ = [
    "attention", "delta_rule", "gru", "lstm", "retention", "rnn", "rotate", "selective_scan", "short_conv", "use",
]  # fmt: skip
