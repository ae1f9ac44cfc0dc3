"""Conformer: Convolution-augmented Transformer for Speech Recognition (Gulati et al. 2020), streaming or offline."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from lamina.core import Config, Layer, Residual, Serial
from lamina.core.config import UserError
from lamina.layers import (
    GLU,
    Activation,
    BatchNorm,
    ChunkAttention,
    Conv,
    FeedForward,
    LayerNorm,
    Linear,
    Scale,
    Subsample,
    Unpadded,
    WindowAttention,
)
from lamina.models.model import Knob, Model
from lamina.models.stack import dropout

__all__ = ["CONFORMER"]


class ConformerStack(Config):
    """Blocks of half a feed-forward, attention, convolution and the other half; chunk given: attention in chunks."""

    d_model: int = Field(64, ge=1)
    n_layers: int = Field(2, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    d_ff: int | None = Field(None, ge=1, description="default 4 * d_model")
    n_heads: int = Field(4, ge=1)
    left: int | None = Field(64, ge=0, description="frames that attention sees before its own; None: all, no stream")
    right: int | None = Field(0, ge=0, description="frames behind its own, a delay; None: all, no stream")
    chunk: int | None = Field(None, ge=1, description="attention in chunks of so many frames, and `left` before them")
    rotary: bool = Field(True, description="positions turn queries and keys")
    relative: bool = Field(False, description="positions as the paper has them; with rotary=False")
    kernel: int = Field(31, ge=0, description="frames of the convolution; 0: none")
    conv_right: int = Field(0, ge=0, description="of them behind its own, a delay; the paper's is (kernel - 1) / 2")
    conv_norm: Literal["batch", "layer"] = "batch"
    macaron: bool = Field(True, description="a feed-forward in two halves around the rest; False: one, at the end")
    subsample: Literal[1, 2, 4] = 1


def build(config: Any) -> Layer:
    """[B,T,d_model] -> [B,T/subsample,d_model]."""
    d_model = config.d_model
    try:
        blocks = [layer for _ in range(config.n_layers) for layer in _block(config)]
    except ValueError as error:
        raise UserError(str(error)) from None
    return Serial(*([Subsample(d_model, d_model, config.subsample)] if config.subsample > 1 else []), *blocks)


def _block(config: Any) -> list[Layer]:
    """x + ffn(x) / 2, x + attention(x), x + convolution(x), norm(x + ffn(x) / 2)."""
    before = [_feed_forward(config)] if config.macaron else []
    behind = _feed_forward(config)
    attention: Layer = Residual(*_attention(config))
    if config.left is None and config.right is None:  # rows of any length, each in one piece
        attention = Unpadded(attention)
    convolution = [Residual(*_convolution(config))] if config.kernel else []
    return [*before, attention, *convolution, behind, LayerNorm(config.d_model)]


def _feed_forward(config: Any) -> Layer:
    """x + W_2 silu(W_1 norm(x)) / 2 (the macaron of Lu et al. 2019, arXiv:1906.02762), of real frames only."""
    d_model = config.d_model
    ffn = FeedForward(d_model, config.d_ff or 4 * d_model, "silu")
    half = [Scale(d_model, 0.5)] if config.macaron else []
    return Unpadded(Residual(LayerNorm(d_model), ffn, *dropout(config), *half))


def _attention(config: Any) -> list[Layer]:
    d_model, heads, left = config.d_model, config.n_heads, config.left
    if config.chunk is None:
        mixer: Layer = WindowAttention(d_model, heads, left, config.right, config.rotary, relative=config.relative)
    elif left is None or config.right != 0:
        raise ValueError(f"conformer: chunk={config.chunk} goes with a left of its own and right=0, not {left} and "
                         f"{config.right}")  # fmt: skip
    else:
        mixer = ChunkAttention(d_model, heads, config.chunk, left, config.rotary, relative=config.relative)
    return [LayerNorm(d_model), mixer, *dropout(config)]


def _convolution(config: Any) -> list[Layer]:
    """W_2 silu(norm(depthwise(glu(W_1 norm(x)))))."""
    d_model = config.d_model
    return [
        LayerNorm(d_model),
        Linear(d_model, 2 * d_model),
        GLU(2 * d_model),
        Conv(d_model, d_model, config.kernel, right=config.conv_right, groups=d_model),
        BatchNorm(d_model) if config.conv_norm == "batch" else LayerNorm(d_model),
        Activation(d_model, "silu"),
        Linear(d_model, d_model),
        *dropout(config),
    ]


CONFORMER = Model(
    name="conformer",
    paper="Conformer: Convolution-augmented Transformer for Speech Recognition (Gulati et al.)",
    year=2020,
    family="attention",
    view="sequence",
    config_of=lambda keys: ConformerStack,
    build=build,
    knobs=(Knob("d_model", 8, 8), Knob("d_ff", 8)),
    idea="Attention relates what is far apart, a depthwise convolution what is near; speech needs both in every block.",
    equations=(
        "x <- x + ffn(x) / 2,  x <- x + attention(norm(x))\n"
        "x <- x + W_2 silu(norm(depthwise(glu(W_1 norm(x))))),  x <- norm(x + ffn(x) / 2)\n"
        "ffn(x) = W_4 silu(W_3 norm(x))"
    ),
    use="Speech and other signals whose near and far frames both matter; subsample=4 for features every 10 ms.",
    avoid="Every multiplication counts: a block has two feed-forwards beside attention and convolution.",
    references=(
        "Gulati et al. 2020, arXiv:2005.08100",
        "Dai et al. 2019, arXiv:1901.02860 (relative positions)",
        "Su et al. 2021, arXiv:2104.09864 (rotary positions)",
    ),
)
