"""seq2seq: Neural Machine Translation by Jointly Learning to Align and Translate (Bahdanau, Cho & Bengio 2014)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from lamina.core import Bidirectional, Config, Layer, Serial
from lamina.layers import AdditiveDecoder, EncoderDecoder
from lamina.layers.additive import CELLS
from lamina.models.model import Knob, Model
from lamina.models.stack import dropout

__all__ = ["SEQ2SEQ"]


class Seq2Seq(Config):
    """A bidirectional recurrent encoder and a recurrent decoder that looks back at it."""

    d_model: int = Field(64, ge=1)
    d_encoder: int | None = Field(None, ge=1, description="of each direction of the encoder; default d_model")
    n_layers: int = Field(1, ge=1, description="of the encoder")
    cell: Literal["gru", "lstm"] = "gru"
    attention: bool = Field(True, description="without it the decoder knows the encoder's first frame only")
    dropout: float = Field(0.0, ge=0, lt=1)


def build(config: Any) -> Layer:
    """target [B,T,d_model], source [B,S,d_model] as memory -> [B,T,d_model]."""
    d_model, d_encoder = config.d_model, config.d_encoder or config.d_model
    cell = CELLS[config.cell]
    layers: list[Layer] = []
    for i in range(config.n_layers):
        width = 2 * d_encoder if i else d_model
        layers += [*dropout(config, width), Bidirectional(cell(width, d_encoder), cell(width, d_encoder))]
    decoder = AdditiveDecoder(d_model, 2 * d_encoder, config.cell, config.attention)
    return EncoderDecoder(Serial(*layers), Serial(*dropout(config), decoder, *dropout(config)))


SEQ2SEQ = Model(
    name="seq2seq",
    paper="Neural Machine Translation by Jointly Learning to Align and Translate (Bahdanau et al.)",
    year=2014,
    family="attention",
    view="pairs",
    config_of=lambda keys: Seq2Seq,
    build=build,
    knobs=(Knob("d_model", 8, 8), Knob("d_encoder", 4)),
    idea="A decoder that may look back at every word of the source need not squeeze it into one vector.",
    equations=(
        "m = [forward cell; backward cell] over the source\n"
        "a_ts = softmax_s(u . tanh(W h_{t-1} + U m_s)),    c_t = sum_s a_ts m_s\n"
        "h_t = cell([x_t; c_t], h_{t-1}),    y_t = max of pairs of R [h_t; c_t; x_t]"
    ),
    use="Sources and targets of some tens of words; the alignment itself is wanted; the decoder's state must be small.",
    avoid="Training must be parallel over time: each look depends on the one before.",
    references=(
        "Bahdanau, Cho & Bengio 2014, arXiv:1409.0473",
        "Cho et al. 2014, arXiv:1406.1078 (without attention)",
        "Sutskever, Vinyals & Le 2014, arXiv:1409.3215",
    ),
)
