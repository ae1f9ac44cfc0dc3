"""Plain recurrent stacks: tanh RNN (Elman 1990), LSTM (Hochreiter & Schmidhuber 1997), GRU (Cho et al. 2014)."""

from __future__ import annotations

from lamina.models.model import Knob, Model
from lamina.models.stack import PlainStack, plain_stack, row_of_mixer

__all__ = ["GRU", "LSTM", "RNN"]


def _row(name: str, equations: str, *references: str) -> Model:
    return row_of_mixer(name, name, PlainStack, plain_stack, (Knob("d_model", 2),), equations, *references)


RNN = _row("rnn", "h_t = tanh(W [x_t; h_{t-1}] + b)", "Elman 1990, Cognitive Science 14(2)")

LSTM = _row(
    "lstm",
    "i, f, g, o = W [x_t; h_{t-1}] + b\nc_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)\nh_t = sigmoid(o) tanh(c_t)",
    "Hochreiter & Schmidhuber 1997, Neural Computation 9(8)",
    "Gers, Schmidhuber & Cummins 2000, Learning to Forget",
    "Jozefowicz, Zaremba & Sutskever 2015 (the forget bias of 1)",
)

GRU = _row(
    "gru",
    "r, z = sigmoid(W [x_t; h_{t-1}] + b)\n"
    "n = tanh(W_n x_t + b_n + r (U_n h_{t-1} + c_n))\n"
    "h_t = (1 - z) n + z h_{t-1}",
    "Cho et al. 2014, arXiv:1406.1078",
)
