"""The laws of the contract, public: on your own layer, in a test suite, or as `lamina check`.

    from lamina.core import check

    check.check_layer(MyMixer(16))                      # one Result a law

    @check.parametrize([MyMixer(16), lambda: Residual(MyMixer(16))])
    def test_laws(case, law):
        law(case)

Each law is a function of a Case and raises LawError. pytest, hypothesis and onnxruntime are imported by those laws
that need them.
"""

from lamina.core.check.case import Case
from lamina.core.check.law import Law
from lamina.core.check.laws_form import batch, causal, padding, shapes
from lamina.core.check.laws_grad import grad
from lamina.core.check.laws_graph import StepGraph, compile_, export, onnx
from lamina.core.check.laws_mode import aging, config, mode, reason
from lamina.core.check.laws_state import pure, save, state
from lamina.core.check.laws_stream import absent, chunks, flush, hold, rows
from lamina.core.check.policy import LawError, Skipped
from lamina.core.check.run import LAWS, Result, check_law, check_layer, choose, parametrize

__all__ = [
    "LAWS", "Case", "Law", "LawError", "Result", "Skipped", "StepGraph", "absent", "aging", "batch", "captured",
    "causal", "check_law", "check_layer", "choose", "chunks", "compile_", "config", "export", "flush", "grad", "hold",
    "mode", "onnx", "padding", "parametrize", "pure", "reason", "rows", "save", "shapes", "state",
]  # fmt: skip
