"""wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations (Baevski et al. 2020)."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from lamina.core import Config, Layer, Residual, Seq, Serial
from lamina.core.config import UserError
from lamina.layers import (
    ConvPosition,
    FeatureEncoder,
    FeedForward,
    LayerNorm,
    Linear,
    ProductQuantizer,
    SpanMask,
    Unpadded,
    WindowAttention,
)
from lamina.layers.projection import Projection
from lamina.models.conformer import CONFORMER
from lamina.models.model import Knob, Model
from lamina.models.stack import dropout, residuals

__all__ = ["WAV2VEC2", "Contrast", "Wav2Vec2"]


class Wav2Vec2Stack(Config):
    """Convolutions from samples to frames, masks, a convolution for places, and attention over the whole utterance.

    As published (base): d_model=768, n_layers=12, n_heads=12, seven convolutions of 512 channels with kernels
    10,3,3,3,3,2,2 and strides 5,2,2,2,2,2,2 (a frame every 320 samples, 20 ms at 16 kHz), places 128 frames wide.
    """

    d_model: int = Field(128, ge=1)
    n_layers: int = Field(4, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    d_ff: int | None = Field(None, ge=1, description="default 4 * d_model")
    n_heads: int = Field(4, ge=1)
    norm: Literal["pre", "post"] = Field("post", description="of the blocks; the large models have it before them")
    conv_channels: tuple[int, ...] = (64, 64, 64, 64)
    conv_kernels: tuple[int, ...] = (10, 8, 8, 4)
    conv_strides: tuple[int, ...] = Field((5, 4, 4, 4), description="their product: samples of a frame")
    conv_norm: Literal["group", "layer"] = "group"
    conv_bias: bool = False
    level: bool = Field(True, description="utterances at mean 0 and variance 1 first")
    kernel: int = Field(64, ge=1, description="frames that tell a place")
    groups: int = Field(16, ge=1, description="of the convolution that tells places; d_model is a multiple")
    blocks: Literal["transformer", "conformer"] = Field(
        "transformer", description="conformer: with relative positions, and none told by a convolution"
    )
    conv_kernel: int = Field(31, ge=1, description="frames of a Conformer's convolution")
    mask: float = Field(0.065, ge=0, lt=1, description="the chance of a frame to begin a masked span, in training")
    span: int = Field(10, ge=1, description="frames of a masked span")
    mask_channels: float = Field(0.0, ge=0, lt=1, description="in fine-tuning: of a channel to begin a dropped span")


class Wav2Vec2(Serial):
    """Samples [B,T,1] -> frames [B,T',d_model]; in training spans of the frames in between are masked.

    `hear` and `relate` are its two halves, for who must know what was masked. frozen, an attribute: the convolutions
    over samples do not learn.
    """

    frozen = False

    def __init__(self, features: Layer, norm: Layer, project: Layer, mask: SpanMask, context: Layer) -> None:
        super().__init__(features, norm, project, mask, context)

    def hear(self, x: Seq) -> Seq:
        """What is heard at each frame, before it is related to others: [B,T,1] -> [B,T',channels]."""
        features, norm, *_ = self._halves()
        return cast(Seq, norm(features(x)))

    def relate(self, z: Seq, hidden: Tensor) -> Seq:
        """The frames related to each other, those at `hidden` [B,T'] told by the rest: [B,T',channels] -> d_model."""
        *_, project, mask, context = self._halves()
        return cast(Seq, context(cast(SpanMask, mask).hide(project(z), hidden)))

    @property
    def d_heard(self) -> int:
        """The width of what `hear` gives."""
        return cast(int, self._halves()[1].d_out)

    @property
    def mask(self) -> SpanMask:
        return cast(SpanMask, self._halves()[3])

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        if not self.frozen:
            return super().forward(x)
        features, *rest = self._halves()
        self._fits(x)
        with torch.no_grad():
            y = features(x)
        # gradients of zero, not none: every process of several waits for one of each weight
        nothing = torch.stack([p.sum() for p in features.parameters()]).sum() * 0
        y = y.with_values(y.values + nothing)
        for layer in rest:
            y = layer(y)
        return y

    def _halves(self) -> list[Layer]:
        return [layer for _, layer in self.children_in_order()]


class Contrast(nn.Module):
    """What pretraining needs beside the structure: frames as codes, and both sides in one space of width d_told.

    W_c c_t of what was related, W_q q_t of what was heard, q = quantizer(z).
    """

    def __init__(self, d_heard: int, d_model: int, d_code: int, n_groups: int, n_codes: int, d_told: int) -> None:
        super().__init__()
        self.quantizer = ProductQuantizer(d_heard, d_code, n_groups, n_codes)
        self.context, self.code = Projection(d_model, d_told), Projection(d_code, d_told)


def build(config: Any) -> Layer:
    """[B,T,1] -> [B,T',d_model]."""
    d_model, d_ff = config.d_model, config.d_ff or 4 * config.d_model
    try:
        features = FeatureEncoder(
            config.conv_channels,
            config.conv_kernels,
            config.conv_strides,
            config.conv_norm,
            config.conv_bias,
            config.level,
        )
        context = _conformer(config) if config.blocks == "conformer" else _transformer(config, d_ff)
    except ValueError as error:
        raise UserError(f"wav2vec2: {error}") from None
    heard = cast(int, features.d_out)
    mask = SpanMask(d_model, config.mask, config.span, config.mask_channels)
    return Wav2Vec2(features, LayerNorm(heard), Linear(heard, d_model), mask, context)


def _transformer(config: Any, d_ff: int) -> Layer:
    """x + gelu(conv(x)), then x + attention(x), x + ffn(x), n_layers times, over all of the utterance."""
    bodies = [
        body
        for _ in range(config.n_layers)
        for body in (
            WindowAttention(config.d_model, config.n_heads, left=None, right=None, rotary=False),
            FeedForward(config.d_model, d_ff),
        )
    ]
    places: list[Layer] = [Residual(ConvPosition(config.d_model, config.kernel, config.groups))]
    if config.norm == "post":
        places.append(LayerNorm(config.d_model))
    return Serial(*places, *dropout(config), Unpadded(residuals(config, bodies)))


def _conformer(config: Any) -> Layer:
    """Conformer blocks over all of the utterance, and a norm."""
    keys = {key: getattr(config, key) for key in ("d_model", "n_layers", "n_heads", "d_ff", "dropout")}
    whole = {"left": None, "right": None, "rotary": False, "relative": True}
    kernel = {"kernel": config.conv_kernel, "conv_right": config.conv_kernel // 2}
    body = CONFORMER.build(CONFORMER.config_of({})(**keys, **whole, **kernel))
    return Serial(*dropout(config), cast(Layer, body), LayerNorm(config.d_model))


WAV2VEC2 = Model(
    name="wav2vec2",
    paper="wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations (Baevski et al.)",
    year=2020,
    family="attention",
    view="waveform",
    config_of=lambda keys: Wav2Vec2Stack,
    build=build,
    knobs=(Knob("d_model", 16, 16), Knob("d_ff", 8)),
    idea="Who must tell a masked piece of speech from other pieces learns the sounds of a language without a text.",
    equations=(
        "z = norm(conv(samples)),  q_t = code(z_t),  c = attention over all of z, spans of it masked\n"
        "-log exp(cos(c_t, q_t) / 0.1) / sum over q_t and 100 other masked frames' q of exp(cos(c_t, q) / 0.1)\n"
        "fine-tuned with CTC on frames c, the convolutions fixed at first"
    ),
    use="Much speech without its text, and a little with it: lamina pretrain, then lamina train --from.",
    avoid="The answer must come before the utterance has ended, or every frame must cost little: it starts at samples.",
    references=(
        "Baevski et al. 2020, arXiv:2006.11477",
        "Mohamed et al. 2019, arXiv:1904.11660 (convolutions for places)",
        "Jang et al. 2016, arXiv:1611.01144 (Gumbel softmax)",
    ),
)
