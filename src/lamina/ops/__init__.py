"""Pure functions with state in and state out; the registry chooses the implementation."""

from lamina.ops._attention import block_attention, full_attention, rotate
from lamina.ops._delta_rule import delta_rule
from lamina.ops._recurrent import gru, lstm, rnn
from lamina.ops._retention import retention
from lamina.ops._selective_scan import selective_scan
from lamina.ops.registry import use

__all__ = [
    "block_attention", "delta_rule", "full_attention", "gru", "lstm", "retention", "rnn", "rotate", "selective_scan",
    "use",
]  # fmt: skip
