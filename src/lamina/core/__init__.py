"""The contract: one definition of a layer whose training form and streaming form are equal."""

from lamina.core.captured import Captured
from lamina.core.compose import Bidirectional, Delay, Identity, Parallel, Repeat, Residual, Reverse, Serial
from lamina.core.config import Config, UserError
from lamina.core.cost import Cost, cost
from lamina.core.layer import Layer, NotStreamable, Pointwise, State, StreamSpec, Whole
from lamina.core.packed import Packed, each_length
from lamina.core.seq import Seq
from lamina.core.stream import Streamer, run_steps
from lamina.core.taps import taps

__all__ = [
    "Bidirectional", "Captured", "Config", "Cost", "Delay", "Identity", "Layer", "NotStreamable", "Packed", "Parallel",
    "Pointwise", "Repeat", "Residual", "Reverse", "Seq", "Serial", "State", "StreamSpec", "Streamer", "UserError",
    "Whole", "cost", "each_length", "run_steps", "taps",
]  # fmt: skip
