"""The families: FAMILIES by the model_type of their config.json, FILES by the names of a state dict alone."""

from __future__ import annotations

from lamina.interop.bert import BERT
from lamina.interop.conformer import CONFORMER
from lamina.interop.decoder import GPT2, LLAMA
from lamina.interop.encoder import ENCODER
from lamina.interop.family import Family
from lamina.interop.mamba import MAMBA, MAMBA_SSM
from lamina.interop.marian import MARIAN
from lamina.interop.memory import FLA_DELTANET, FLA_GATED_DELTANET, FLA_RETNET
from lamina.interop.neox import NEOX
from lamina.interop.recurrent import RECURRENT
from lamina.interop.torchscale import TORCHSCALE_RETNET
from lamina.interop.wav2vec2 import WAV2VEC2
from lamina.interop.wav2vec2_conformer import WAV2VEC2_CONFORMER

__all__ = ["FAMILIES", "FILES", "REFUSED"]

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        BERT,
        GPT2,
        NEOX,
        LLAMA,
        MARIAN,
        MAMBA,
        MAMBA_SSM,
        FLA_DELTANET,
        FLA_GATED_DELTANET,
        FLA_RETNET,
        WAV2VEC2,
        WAV2VEC2_CONFORMER,
    )
}
# the first that recognises a file has it
FILES: tuple[Family, ...] = (RECURRENT, TORCHSCALE_RETNET, ENCODER, CONFORMER)
REFUSED = {  # what is known, and whose config.json holds a key that no layer here can be
    "qwen3_next": "layer_types: every fourth layer is attention with a gate and positions on part of a head",
    "olmo_hybrid": "layer_types: every fourth layer is attention with norms on its queries and keys",
}
