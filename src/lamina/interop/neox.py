"""GPT-NeoX's checkpoints: layer norms before, rotary positions; the family of Pythia, whose residuals are parallel."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from lamina.core import Layer, UserError
from lamina.interop.decoder import ACTIVATIONS, CAPACITY
from lamina.interop.family import Family, Pretrained, before, wanted
from lamina.interop.weights import Rows, Shapes, Weight, Whole
from lamina.layers import Embedding, Linear
from lamina.models import create

__all__ = ["NEOX"]

ROOT = "gpt_neox."
HEADS = ("lm_head.weight", "embed_out.weight")  # of today's transformers and of older ones


def build(config: dict[str, Any], names: Shapes) -> Pretrained:
    rope = config.get("rope_parameters") or {}
    said = {
        "use_parallel_residual": config.get("use_parallel_residual", True),
        "rotary_pct": rope.get("partial_rotary_factor", config.get("rotary_pct", 0.25)),
        "rotary_emb_base": rope.get("rope_theta", config.get("rotary_emb_base", 10000)),
    }
    wanted(said, use_parallel_residual=False, rotary_pct=1.0, rotary_emb_base=10000)
    wanted(config, layer_norm_eps=1e-5, attention_bias=True, tie_word_embeddings=False, rope_scaling=None)
    if (function := config.get("hidden_act", "gelu")) not in ACTIVATIONS:
        raise UserError(f"config.json: hidden_act={function!r} is not built here, only {', '.join(ACTIVATIONS)}")
    d_model = config["hidden_size"]
    backbone = create(
        "transformer",
        mixer="causal_attention",
        d_model=d_model,
        n_layers=config["num_hidden_layers"],
        n_heads=config["num_attention_heads"],
        d_ff=config["intermediate_size"],
        capacity=config["capacity"] or min(config["max_position_embeddings"], CAPACITY),
        activation=ACTIVATIONS[function],
    )
    head = Linear(d_model, config["vocab_size"], bias=False) if _head(names) else None
    return Pretrained(Embedding(config["vocab_size"], d_model), cast(Layer, backbone), head)


def table(config: dict[str, Any], names: Shapes) -> list[Weight]:
    root, n, both = before(names, ROOT), config["num_hidden_layers"], ("weight", "bias")
    found, mixed = [Weight("0.table.weight", (f"{root}embed_in.weight",))], _mixed(config["num_attention_heads"])
    for i in range(n):
        theirs, attention, ffn = f"{root}layers.{i}", f"1.{2 * i}.1", f"1.{2 * i + 1}.1"
        rows = [
            (f"{attention}.0.norm", f"{theirs}.input_layernorm"),
            (f"{attention}.1.out", f"{theirs}.attention.dense"),
            (f"{ffn}.0.norm", f"{theirs}.post_attention_layernorm"),
            (f"{ffn}.1.0.linear", f"{theirs}.mlp.dense_h_to_4h"),
            (f"{ffn}.1.2.linear", f"{theirs}.mlp.dense_4h_to_h"),
        ]
        found += [Weight(f"{a}.{p}", (f"{b}.{p}",)) for a, b in rows for p in both]
        qkv = f"{theirs}.attention.query_key_value"
        found += [Weight(f"{attention}.1.qkv.{p}", (f"{qkv}.{p}",), whole=mixed) for p in both]
    found += [Weight(f"1.{2 * n}.norm.{p}", (f"{root}final_layer_norm.{p}",)) for p in both]
    return found + ([Weight("2.linear.weight", (name,))] if (name := _head(names)) else [])


def block(config: dict[str, Any], i: int) -> str:
    return f"1.{2 * i + 1}"


def _head(names: Shapes) -> str:
    return next((name for name in HEADS if name in names), "")


def _mixed(n_heads: int) -> Whole:
    """Theirs has the query, key and value of a head side by side, ours all queries, all keys, all values."""
    turned, kept = Rows(n_heads, halves=True), Rows(n_heads)

    def taken(parts: list[Tensor]) -> Tensor:
        q, k, v = parts[0].unflatten(0, (n_heads, 3, -1)).transpose(0, 1).flatten(1, 2)
        return torch.cat([turned.taken(q), turned.taken(k), kept.taken(v)])

    def given(ours: Tensor) -> list[Tensor]:
        q, k, v = ours.chunk(3)
        parts = torch.stack([turned.given(q, ""), turned.given(k, ""), kept.given(v, "")])
        return [parts.unflatten(1, (n_heads, -1)).transpose(0, 1).flatten(0, 2)]

    return Whole(taken, given)


NEOX = Family(
    "gpt_neox", build, table, block, options={"capacity": None},
    ignored=("*.attention.bias", "*.attention.masked_bias", "*.rotary_emb.inv_freq"),
)  # fmt: skip
