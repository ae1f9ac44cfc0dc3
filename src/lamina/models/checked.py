"""Every layer and streaming model at a small size: what `lamina check all` runs the laws on (sizes chosen in 2026)."""

from __future__ import annotations

import torch

from lamina.core import Bidirectional, Delay, Identity, Layer, Parallel, Repeat, Residual, Serial
from lamina.layers import (
    GLU,
    GRU,
    LSTM,
    RNN,
    Activation,
    AdditiveDecoder,
    BatchNorm,
    CausalAttention,
    ChunkAttention,
    Conv,
    ConvPosition,
    CrossDecoder,
    DeltaNet,
    Dropout,
    Embedding,
    FeatureEncoder,
    FeedForward,
    Frames,
    GatedRetention,
    LayerNorm,
    LearnedPosition,
    Linear,
    LinearAttention,
    LogMel,
    Mamba,
    MelSpectrum,
    MemoryAttention,
    ProductQuantizer,
    Retention,
    RMSNorm,
    RunningNorm,
    Scale,
    SegmentEmbedding,
    ShortConv,
    Sinusoid,
    SpanMask,
    Standardise,
    Subsample,
    SwiGLU,
    TimeNorm,
    Unpadded,
    WindowAttention,
)  # fmt: skip
from lamina.models.io import create
from lamina.models.registry import MODELS

__all__ = ["check_layers"]


def check_layers() -> list[tuple[str, Layer]]:
    """(name, layer) of all: the layers, composites whose delays and strides meet, and every sequence model."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        # one generator draws all: what is added at the end leaves the weights of the rest as they are
        first = [*_layers(), *_memories(), *_composites(), *_models()]
        return [*first, *_encoders(), *_decoders(), *_frontends(), *_waveforms()]


def _layers() -> list[tuple[str, Layer]]:
    return [
        ("Linear", Linear(6, 5)),
        ("Embedding", Embedding(11, 6)),
        ("Activation", Activation(6, "gelu")),
        ("Scale", Scale(6, 0.5)),
        ("GLU", GLU(6)),
        ("Dropout", Dropout(6, 0.5)),
        ("LayerNorm", LayerNorm(6)),
        ("RMSNorm", RMSNorm(6)),
        ("BatchNorm", BatchNorm(6)),
        ("Conv", Conv(6, 5, 4)),
        ("Conv(stride=2)", Conv(6, 5, 3, 2)),
        ("Conv(right=2)", Conv(6, 6, 5, right=2, groups=3)),
        ("Conv(stride=2,right=3)", Conv(6, 5, 5, 2, right=3)),
        ("Conv(valid)", Conv(6, 5, 4, 2, edge="valid")),
        ("Subsample(2)", Subsample(6, 5, 2)),
        ("Subsample(4)", Subsample(6, 5, 4)),
        ("LSTM", LSTM(6, 5)),
        ("GRU", GRU(6, 5)),
        ("RNN", RNN(6, 5)),
        ("WindowAttention", WindowAttention(8, 2, left=6)),
        ("WindowAttention(right=3)", WindowAttention(8, 2, left=6, right=3)),
        ("WindowAttention(left=None)", WindowAttention(8, 2, left=None)),
        ("WindowAttention(right=3,short_conv=3)", WindowAttention(8, 2, left=6, right=3, short_conv=3)),
        ("CausalAttention", CausalAttention(8, 2, capacity=6)),
        ("CausalAttention(long)", CausalAttention(8, 2, capacity=300, short_conv=3)),
        ("CausalAttention(capacity=None)", CausalAttention(8, 2, capacity=None)),
        ("ChunkAttention", ChunkAttention(8, 2, chunk=4, left=6)),
        ("ChunkAttention(short_conv=3)", ChunkAttention(8, 2, chunk=4, left=6, short_conv=3)),
        ("FeedForward", FeedForward(6, 9)),
        ("SwiGLU", SwiGLU(6, 9)),
    ]


def _memories() -> list[tuple[str, Layer]]:
    """The layers with a constant state, each with its factors, and the one with a shared cache."""
    return [
        ("ShortConv", ShortConv(6, 3)),
        ("Retention", Retention(8, 2)),
        ("Retention(value_factor=2,short_conv=3)", Retention(8, 2, value_factor=2, short_conv=3)),
        ("GatedRetention", GatedRetention(8, 2)),
        ("GatedRetention(short_conv=3)", GatedRetention(8, 2, short_conv=3)),
        ("LinearAttention", LinearAttention(8, 2)),
        ("LinearAttention(short_conv=3)", LinearAttention(8, 2, short_conv=3)),
        ("DeltaNet", DeltaNet(8, 2)),
        ("DeltaNet(beta_max=2,short_conv=3)", DeltaNet(8, 2, beta_max=2.0, short_conv=3)),
        ("DeltaNet(gated)", DeltaNet(8, 2, gated=True)),
        ("Mamba", Mamba(6, 4)),
        ("Mamba(short_conv=0)", Mamba(6, 4, short_conv=0)),
        ("Mamba(selective=False)", Mamba(6, 4, selective=False)),
        ("CrossDecoder", CrossDecoder(8, 2, 2, 12, capacity=6)),
        ("CrossDecoder(capacity=None)", CrossDecoder(8, 2, 1, 12, capacity=None)),
    ]


def _composites() -> list[tuple[str, Layer]]:
    lookahead = Residual(LayerNorm(8), Conv(8, 8, 3, right=2))
    return [
        ("Identity", Identity(6)),
        ("Delay", Delay(6, 3)),
        ("Residual(lookahead)", lookahead),
        ("Parallel(concat)", Parallel(Conv(6, 3, 5, right=3), LSTM(6, 4), combine="concat")),
        ("Parallel(multiply)", Parallel(Conv(6, 4, 3, right=1), GRU(6, 4), combine="multiply")),
        ("Repeat", Repeat(Residual(RMSNorm(6), Conv(6, 6, 3, right=1)), 3)),
        ("Serial(lookahead,subsample)", Serial(Conv(6, 8, 5, right=3), Subsample(8, 8, 4), GRU(8, 4))),
        (
            "Serial(subsample,attention,lstm)",
            Serial(Subsample(6, 8, 2), Residual(WindowAttention(8, 2, 5, 2)), ChunkAttention(8, 2, 2, 4), LSTM(8, 5)),
        ),
        ("Bidirectional", Bidirectional(LSTM(6, 4), LSTM(6, 4))),
    ]


def _models() -> list[tuple[str, Layer]]:
    small = {
        "n_heads": 2, "left": 6, "chunk": 4, "kernel": 3, "d_model": 8, "n_layers": 2, "d_ff": 12, "capacity": 6,
        "d_state": 4,
    }  # fmt: skip
    rows = []
    for name, row in MODELS.items():
        if row.view in ("image", "pixels", "pairs", "waveform") or name == "bert":
            continue
        known = row.config_of({}).model_fields
        rows.append((f"models.{name}", create(name, **{k: v for k, v in small.items() if k in known})))
    post = create("transformer", norm="post", d_model=8, n_heads=2, left=6, right=2, dropout=0.1)
    mixed = create("lstm", mixer="conv", d_model=6, right=1)
    window = create("yoco", self_decoder="window_attention", d_model=8, n_layers=3, n_heads=2, left=4, capacity=6)
    pattern = "chunk_attention,retention,conv"
    turns = create("hybrid", mixers=pattern, n_layers=4, d_model=8, n_heads=2, chunk=4, right=1)
    ahead = {"right": 2, "kernel": 3, "conv_right": 1, "conv_norm": "layer", "subsample": 2}
    conformer = create("conformer", d_model=8, n_layers=1, n_heads=2, d_ff=12, left=6, **ahead)
    offline = create("conformer", d_model=8, n_layers=1, n_heads=2, d_ff=12, left=None, right=None, kernel=3)
    more = [
        ("conformer(right=2,subsample=2)", conformer),
        ("conformer(left=None)", offline),
        ("transformer(post,right=2)", post),
        ("lstm(mixer=conv)", mixed),
        ("yoco(window_attention)", window),
        (f"hybrid({pattern})", turns),
    ]
    return [*rows, *((f"models.{name}", layer) for name, layer in more)]  # type: ignore[list-item]


def _encoders() -> list[tuple[str, Layer]]:
    """BERT and Conformer as published, what they are made of, and layers as others' checkpoints have them."""
    bert = create("bert", d_model=8, n_layers=2, n_heads=2, d_ff=12, capacity=40)
    whole = {"left": None, "right": None, "rotary": False, "relative": True}
    conformer = create("conformer", d_model=8, n_layers=1, n_heads=2, d_ff=12, kernel=3, conv_right=1, **whole)
    models = [("models.bert", bert), ("models.conformer(relative,left=None)", conformer)]
    return [
        ("SegmentEmbedding", SegmentEmbedding(5, 6, separator=2, n_segments=3)),
        ("LearnedPosition", LearnedPosition(6, 1000)),
        ("Unpadded", Unpadded(Serial(Residual(LayerNorm(8), WindowAttention(8, 2, left=6)), FeedForward(8, 12)))),
        ("WindowAttention(relative)", WindowAttention(8, 2, left=6, right=2, rotary=False, relative=True)),
        ("CausalAttention(relative)", CausalAttention(8, 2, capacity=6, rotary=False, relative=True)),
        ("ChunkAttention(relative)", ChunkAttention(8, 2, chunk=4, left=6, rotary=False, relative=True)),
        *models,  # type: ignore[list-item]
        ("Retention(closed=False,weighted)", Retention(8, 2, closed=False, weighted=True)),
        ("DeltaNet(gated,d_head=3)", DeltaNet(8, 2, value_factor=2, short_conv=3, gated=True, d_head=3, soft=1e-6)),
    ]


def _decoders() -> list[tuple[str, Layer]]:
    """Encoder and decoder, the decoder alone too, for it streams; and what they are made of."""
    small = {"d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 12, "capacity": 6}
    additive, transformer = create("seq2seq", d_model=6), create("transformer_seq2seq", **small)
    post = create("transformer_seq2seq", norm="post", positions="sinusoid_halves", **small)
    return [
        ("Sinusoid", Sinusoid(6)),
        ("Sinusoid(halves)", Sinusoid(6, halves=True)),
        ("MemoryAttention", MemoryAttention(8, 2, d_memory=6)),
        ("AdditiveDecoder", AdditiveDecoder(6, 5)),
        ("AdditiveDecoder(lstm)", AdditiveDecoder(6, 5, "lstm")),
        ("AdditiveDecoder(attention=False)", AdditiveDecoder(6, 5, attention=False)),
        ("models.seq2seq", additive),
        ("models.seq2seq.decoder", additive.decoder),
        ("models.transformer_seq2seq", transformer),
        ("models.transformer_seq2seq.decoder", transformer.decoder),
        ("models.transformer_seq2seq.decoder(post)", post.decoder),
    ]  # type: ignore[list-item]


def _frontends() -> list[tuple[str, Layer]]:
    """Speech from samples on, and the Conformer's ablations."""
    heard = Serial(LogMel(1000, 2, window_ms=6, hop_ms=4), Frames(2, 2, 2, "valid"), GRU(4, 3))
    bare = {"d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 12, "left": 6}
    return [
        ("Frames", Frames(3, 5, 2)),
        ("Frames(window=hop)", Frames(2, 3, 3)),
        ("MelSpectrum", MelSpectrum(1000, 6, 2)),
        ("LogMel", LogMel(1000, 2, window_ms=6, hop_ms=4)),
        ("Serial(LogMel,Frames,GRU)", heard),
        ("models.conformer(kernel=0)", create("conformer", kernel=0, **bare)),  # type: ignore[list-item]
        ("models.conformer(macaron=False)", create("conformer", macaron=False, kernel=3, **bare)),  # type: ignore[list-item]
        ("Frames(valid)", Frames(3, 5, 2, "valid")),
        ("Frames(valid,window=hop)", Frames(2, 3, 3, "valid")),
        ("RunningNorm", RunningNorm(4)),
        ("RunningNorm(decay=0.9)", RunningNorm(4, 0.9, 3.0, -1.0, 2.0)),
        ("Standardise", Standardise(3, 0.5, 2.0)),
    ]


def _waveforms() -> list[tuple[str, Layer]]:
    """wav2vec 2.0 in both its forms, and what it is made of, of which some parts stream."""
    convolutions = {"conv_channels": (4, 5), "conv_kernels": (3, 2), "conv_strides": (2, 1)}
    small = {"d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 12, "kernel": 4, "groups": 2, "span": 2, **convolutions}
    large = {"norm": "pre", "conv_norm": "layer", "conv_bias": True, "level": False, "dropout": 0.1}
    return [
        ("Conv(bias=False)", Conv(6, 5, 4, bias=False)),
        ("Conv(depthwise,bias=False)", Conv(6, 6, 4, right=1, groups=6, bias=False)),
        ("TimeNorm", TimeNorm(6)),
        ("TimeNorm(affine=False)", TimeNorm(6, affine=False)),
        ("FeatureEncoder", FeatureEncoder((4, 5), (3, 2), (2, 1), level=True)),
        ("FeatureEncoder(layer)", FeatureEncoder((4, 5, 6), (5, 3, 2), (3, 2, 2), norm="layer", bias=True)),
        ("ConvPosition", ConvPosition(6, 5, groups=3)),
        ("ConvPosition(even)", ConvPosition(6, 4, groups=2)),
        ("SpanMask", SpanMask(6, 0.2, 2, channels=0.2)),
        ("ProductQuantizer", ProductQuantizer(6, 8, n_groups=2, n_codes=5)),
        ("models.wav2vec2", create("wav2vec2", **small)),
        ("models.wav2vec2(conformer)", create("wav2vec2", blocks="conformer", conv_kernel=3, **small)),
        ("models.wav2vec2(layer,pre)", create("wav2vec2", **small, **large)),
    ]  # type: ignore[list-item]
