"""Marian's translators in transformers' layout: an encoder and a decoder with norms behind, sines before cosines."""

from __future__ import annotations

from typing import Any, cast

import torch

from lamina.core import Layer, Seq
from lamina.interop.family import Family, Pretrained, wanted
from lamina.interop.weights import Shapes, Weight, Whole
from lamina.layers import Embedding, EncoderDecoder, Linear
from lamina.models import create
from lamina.tasks import Teller

__all__ = ["MARIAN", "Marian"]

ACTIVATIONS = {"swish": "silu", "silu": "silu", "relu": "relu", "gelu": "gelu"}
ROW = Whole(lambda parts: parts[0][0], lambda bias: [bias[None]])  # [1,n_vocab]


class Marian(Pretrained):
    """Logits of the next word, [B,T,n_vocab]: forward(x, memory=source), both tokens (Junczys-Dowmunt et al. 2018,
    arXiv:1804.00344). `teller()` is for `lamina.tasks.search`.
    """

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        stem, _, _ = self.parts()
        return super().forward(x, None if memory is None else stem(memory))

    def parts(self) -> tuple[Layer, EncoderDecoder, Layer]:
        stem, backbone, head = (layer for _, layer in self.children_in_order())
        return stem, cast(EncoderDecoder, backbone), head

    def teller(self) -> Teller:
        stem, backbone, head = self.parts()
        begin, end = self.source["decoder_start_token_id"], self.source["eos_token_id"]
        never = torch.zeros(self.source["vocab_size"])
        never[self.source["pad_token_id"]] = -torch.inf  # begins a target and pads, and is never told
        return Teller(
            lambda x: backbone.encoder(stem(x)), stem, backbone.decoder,
            lambda frames: head(Seq.of(frames)).values + never, begin, end,
        )  # fmt: skip


def build(config: dict[str, Any], names: Shapes) -> Marian:
    wanted(config, share_encoder_decoder_embeddings=True, tie_word_embeddings=True)
    wanted(config, decoder_vocab_size=config["vocab_size"], static_position_embeddings=True, normalize_before=False)
    wanted(config, decoder_attention_heads=config["encoder_attention_heads"])
    wanted(config, decoder_ffn_dim=config["encoder_ffn_dim"], normalize_embedding=False, add_final_layer_norm=False)
    function = config.get("activation_function", "gelu")
    wanted({"activation_function": function}, activation_function=function if function in ACTIVATIONS else "gelu")
    backbone = create(
        "transformer_seq2seq",
        d_model=config["d_model"],
        n_layers=config["encoder_layers"],
        n_decoder_layers=config["decoder_layers"],
        n_heads=config["encoder_attention_heads"],
        d_ff=config["encoder_ffn_dim"],
        norm="post",
        activation=ACTIVATIONS[function],
        positions="sinusoid_halves",
        scaled=config.get("scale_embedding", False),
        capacity=config["max_position_embeddings"],
        dropout=config.get("dropout", 0.1),
    )
    table = Embedding(config["vocab_size"], config["d_model"])
    head = Linear(config["d_model"], config["vocab_size"])
    head.linear.weight = table.table.weight
    return Marian(table, cast(Layer, backbone), head)


def table(config: dict[str, Any], names: Shapes) -> list[Weight]:
    shared = ("model.shared.weight",)
    found = [Weight("0.table.weight", shared), Weight("2.linear.weight", shared)]
    found.append(Weight("2.linear.bias", ("final_logits_bias",), whole=ROW))
    for side, layers in (("encoder", config["encoder_layers"]), ("decoder", config["decoder_layers"])):
        root, inner = _places(config, side)
        bodies = 2 if side == "encoder" else 3
        for i in range(layers):
            theirs = f"model.{side}.layers.{i}"
            ours = [f"{root}.{2 * (bodies * i + j)}.1{inner}" for j in range(bodies)]
            norms = [f"{root}.{2 * (bodies * i + j) + 1}.norm" for j in range(bodies)]
            rows = [(ours[0], "qkv", f"{theirs}.self_attn", "qkv"), (ours[0], "out", f"{theirs}.self_attn", "")]
            if side == "decoder":
                other = f"{theirs}.encoder_attn"
                rows += [(ours[1], "query", other, "q"), (ours[1], "kv", other, "kv"), (ours[1], "out", other, "")]
            spelled = [
                (f"{body}.{part}", tuple(f"{peer}.{c}_proj" for c in which) or (f"{peer}.out_proj",))
                for body, part, peer, which in rows
            ]
            spelled += [(f"{ours[-1]}.0.linear", (f"{theirs}.fc1",)), (f"{ours[-1]}.2.linear", (f"{theirs}.fc2",))]
            between = ["self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"]
            if side == "encoder":
                del between[1]
            spelled += [(norm, (f"{theirs}.{name}",)) for norm, name in zip(norms, between, strict=True)]
            found += [
                Weight(f"{a}.{p}", tuple(f"{b}.{p}" for b in bs)) for a, bs in spelled for p in ("weight", "bias")
            ]
    return found


def _places(config: dict[str, Any], side: str) -> tuple[str, str]:
    """Where the blocks of a side stand, and a body in its residual: dropout shifts both."""
    drops = bool(config.get("dropout", 0.1))
    return f"1.{side}.{3 if drops else 2}.body", ".0" if drops else ""


def block(config: dict[str, Any], i: int) -> str:
    """The end of the i-th block of the encoder, its last norm."""
    return f"{_places(config, 'encoder')[0]}.{4 * i + 3}"


MARIAN = Family("marian", build, table, block, "encoder_layers", ("*embed_positions.weight", "*embed_tokens.weight",
                                                                   "lm_head.weight"))  # fmt: skip
