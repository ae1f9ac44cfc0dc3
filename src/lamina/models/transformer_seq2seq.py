"""transformer_seq2seq: Attention Is All You Need (Vaswani et al. 2017) as published, encoder and decoder."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from lamina.core import Config, Layer, Serial
from lamina.core.config import UserError
from lamina.layers import (
    CausalAttention,
    EncoderDecoder,
    FeedForward,
    MemoryAttention,
    Scale,
    Sinusoid,
    Unpadded,
    WindowAttention,
)
from lamina.models.model import Knob, Model
from lamina.models.stack import dropout, residuals

__all__ = ["TRANSFORMER_SEQ2SEQ"]


class TransformerSeq2Seq(Config):
    """Blocks of attention and feed-forward over the source; over the target with a look at the source between."""

    d_model: int = Field(64, ge=1)
    n_layers: int = Field(2, ge=1, description="of the encoder")
    n_decoder_layers: int | None = Field(None, ge=1, description="default n_layers")
    n_heads: int = Field(4, ge=1)
    d_ff: int | None = Field(None, ge=1, description="default 4 * d_model")
    norm: Literal["pre", "post"] = "pre"
    activation: Literal["gelu", "gelu_tanh", "relu", "silu"] = Field("relu", description="of the feed-forward")
    positions: Literal["sinusoid", "sinusoid_halves", "none"] = Field(
        "sinusoid", description="halves: sines first, then cosines"
    )
    scaled: bool = Field(True, description="embeddings times sqrt(d_model), which brings them to the size of the waves")
    capacity: int = Field(256, ge=1, description="frames that the decoder's cache holds: the longest target")
    dropout: float = Field(0.0, ge=0, lt=1)


def build(config: Any) -> Layer:
    """target [B,T,d_model], source [B,S,d_model] as memory -> [B,T,d_model]."""
    try:
        reads, tells = (
            [body for _ in range(n or config.n_layers) for body in bodies(config)]
            for n, bodies in ((config.n_layers, _reads), (config.n_decoder_layers, _tells))
        )
    except ValueError as error:
        raise UserError(str(error)) from None
    encoder = Serial(*_places(config), Unpadded(residuals(config, reads)))
    return EncoderDecoder(encoder, Serial(*_places(config), Unpadded(residuals(config, tells))))


def _reads(config: Any) -> list[Layer]:
    attention = WindowAttention(config.d_model, config.n_heads, left=None, right=None, rotary=False)
    return [attention, _ffn(config)]


def _tells(config: Any) -> list[Layer]:
    own = CausalAttention(config.d_model, config.n_heads, config.capacity, rotary=False)
    return [own, MemoryAttention(config.d_model, config.n_heads), _ffn(config)]


def _ffn(config: Any) -> Layer:
    return FeedForward(config.d_model, config.d_ff or 4 * config.d_model, config.activation)


def _places(config: Any) -> list[Layer]:
    waves = [Sinusoid(config.d_model, config.positions == "sinusoid_halves")] if config.positions != "none" else []
    return [Scale(config.d_model, config.d_model**0.5 if config.scaled else 1.0), *waves, *dropout(config)]


TRANSFORMER_SEQ2SEQ = Model(
    name="transformer_seq2seq",
    paper="Attention Is All You Need (Vaswani et al.)",
    year=2017,
    family="attention",
    view="pairs",
    config_of=lambda keys: TransformerSeq2Seq,
    build=build,
    knobs=(Knob("d_model", 8, 8), Knob("d_ff", 8)),
    idea="Attention alone translates: every word looks at all others, and training is parallel over time.",
    equations=(
        "p_t[2i] = sin(t / 10000^(2i/D)),  p_t[2i+1] = cos(t / 10000^(2i/D)),    x <- sqrt(D) x + p\n"
        "source: x <- x + attention(norm(x)),  x <- x + W_2 relu(W_1 norm(x))\n"
        "target: x <- x + attention to its past, x <- x + attention to the source, x <- x + W_2 relu(W_1 norm(x))"
    ),
    use="A source and a target of different lengths and orders, and training time matters.",
    avoid="The target must begin before the source has ended.",
    references=("Vaswani et al. 2017, arXiv:1706.03762", "Xiong et al. 2020, arXiv:2002.04745 (norms before)"),
)
