"""Pure functions with state in and state out; the registry chooses the implementation."""

from lamina.ops._attention import block_attention, full_attention, rotate
from lamina.ops._recurrent import gru, lstm, rnn
from lamina.ops.registry import use

__all__ = ["block_attention", "full_attention", "gru", "lstm", "rnn", "rotate", "use"]
