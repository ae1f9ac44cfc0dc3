"""Multilayer perceptron: Learning representations by back-propagating errors (Rumelhart, Hinton & Williams 1986)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from lamina.core import Config, Layer, Serial
from lamina.layers import Activation, Dropout, Linear
from lamina.models.model import Knob, Model

__all__ = ["MLP", "MlpConfig"]


class MlpConfig(Config):
    """n_layers hidden layers of width d_ff on frames of width d_model."""

    d_model: int = Field(64, ge=1)
    d_ff: int = Field(256, ge=1)
    n_layers: int = Field(1, ge=1)
    activation: Literal["gelu", "relu", "sigmoid", "silu", "tanh"] = "relu"
    dropout: float = Field(0.0, ge=0, lt=1)


def build(config: Any) -> Layer:
    """[B,T,d_model] -> [B,T,d_ff], every frame for itself."""
    layers: list[Layer] = []
    for i in range(config.n_layers):
        layers += [
            Linear(config.d_ff if i else config.d_model, config.d_ff),
            Activation(config.d_ff, config.activation),
        ]
        layers += [Dropout(config.d_ff, config.dropout)] if config.dropout else []
    return Serial(*layers)


MLP = Model(
    name="mlp",
    paper="Learning representations by back-propagating errors (Rumelhart, Hinton & Williams)",
    year=1986,
    family="dense",
    view="frame",
    config_of=lambda _: MlpConfig,
    build=build,
    knobs=(Knob("d_model", 1), Knob("d_ff", 1)),
    idea="Layers of weighted sums and nonlinearities learn their own features; a wide one approximates any function.",
    equations="h_1 = f(W_1 x + b_1),  h_n = f(W_n h_{n-1} + b_n)",
    use="Tables, small fixed-size inputs, heads behind other structures.",
    avoid="Inputs have time or space: nothing is shared between positions, so weights grow with the input.",
    references=(
        "Rumelhart, Hinton & Williams 1986, Nature 323",
        "Cybenko 1989, Approximation by superpositions of a sigmoidal function",
    ),
)
