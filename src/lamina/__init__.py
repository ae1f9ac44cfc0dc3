"""Lamina: every deep structure behind one contract, where the training form equals the streaming form."""

from lamina.core import (
    Bidirectional,
    Captured,
    Delay,
    Identity,
    Layer,
    NotStreamable,
    Parallel,
    Pointwise,
    Repeat,
    Residual,
    Reverse,
    Seq,
    Serial,
    State,
    Streamer,
    StreamSpec,
    UserError,
    check,
    cost,
    run_steps,
    state,
    taps,
)  # fmt: skip
from lamina.interop import load
from lamina.models import create, save

__version__ = "0.1.0"
__all__ = [
    "Bidirectional", "Captured", "Delay", "Identity", "Layer", "NotStreamable", "Parallel", "Pointwise", "Repeat",
    "Residual", "Reverse", "Seq", "Serial", "State", "StreamSpec", "Streamer", "UserError", "check", "cost", "create",
    "load", "run_steps", "save", "state", "taps",
]  # fmt: skip
