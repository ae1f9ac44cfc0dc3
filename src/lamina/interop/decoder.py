"""Decoders that tell the next token: GPT-2's (learned places, layer norms) and Llama's (rotary, RMS norms, SwiGLU)."""

from __future__ import annotations

from typing import Any, cast

from lamina.core import Layer, Serial, UserError
from lamina.interop.family import Family, Pretrained, before, told, told_weights, wanted
from lamina.interop.weights import Rows, Shapes, Weight
from lamina.layers import Embedding, LearnedPosition
from lamina.models import create

__all__ = ["GPT2", "LLAMA"]

CAPACITY = 4096  # frames that a cache holds where nobody says: their 131072 would be allocated at once
ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
    "silu": "silu",
}


def _gpt2(config: dict[str, Any], names: Shapes) -> Pretrained:
    wanted(
        config, layer_norm_epsilon=1e-5, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False,
        add_cross_attention=False,
    )  # fmt: skip
    d_model, places = config["n_embd"], config["n_positions"]
    function = config.get("activation_function", "gelu_new")
    if function not in ACTIVATIONS:
        raise UserError(
            f"config.json: activation_function={function!r} is not built here, only {', '.join(ACTIVATIONS)}"
        )
    backbone = create(
        "transformer",
        mixer="causal_attention",
        d_model=d_model,
        n_layers=config["n_layer"],
        n_heads=config["n_head"],
        d_ff=config.get("n_inner") or 4 * d_model,
        capacity=places,
        rotary=False,
        activation=ACTIVATIONS[function],
    )
    table = Embedding(config["vocab_size"], d_model)
    stem = Serial(table, LearnedPosition(d_model, places))
    return Pretrained(stem, cast(Layer, backbone), told(table, config, names, "transformer."))


def _gpt2_table(config: dict[str, Any], names: Shapes) -> list[Weight]:
    root = before(names, "transformer.")
    embedding, n, both = f"{root}wte.weight", config["n_layer"], ("weight", "bias")
    found = [Weight("0.0.table.weight", (embedding,)), Weight("0.1.table.weight", (f"{root}wpe.weight",))]
    found += told_weights(config, names, "transformer.", embedding)
    for i in range(n):
        theirs, attention, ffn = f"{root}h.{i}", f"1.{2 * i}.1", f"1.{2 * i + 1}.1"
        rows = [
            (f"{attention}.0.norm", f"{theirs}.ln_1", False),
            (f"{attention}.1.qkv", f"{theirs}.attn.c_attn", True),
            (f"{attention}.1.out", f"{theirs}.attn.c_proj", True),
            (f"{ffn}.0.norm", f"{theirs}.ln_2", False),
            (f"{ffn}.1.0.linear", f"{theirs}.mlp.c_fc", True),
            (f"{ffn}.1.2.linear", f"{theirs}.mlp.c_proj", True),
        ]
        found += [Weight(f"{a}.{p}", (f"{b}.{p}",), columns and p == "weight") for a, b, columns in rows for p in both]
    return found + [Weight(f"1.{2 * n}.norm.{p}", (f"{root}ln_f.{p}",)) for p in both]


def _block(config: dict[str, Any], i: int) -> str:
    return f"1.{2 * i + 1}"


GPT2 = Family("gpt2", _gpt2, _gpt2_table, _block, "n_layer", ("*.attn.bias", "*.attn.masked_bias"))


def _llama(config: dict[str, Any], names: Shapes) -> Pretrained:
    wanted(config, hidden_act="silu", mlp_bias=False, rope_scaling=None)
    rope = config.get("rope_parameters") or {}
    wanted({"rope_theta": rope.get("rope_theta", config.get("rope_theta", 1e4))}, rope_theta=1e4)
    wanted({"rope_type": rope.get("rope_type", "default")}, rope_type="default")
    d_model, n_heads = config["hidden_size"], config["num_attention_heads"]
    wanted({"head_dim": config.get("head_dim") or d_model // n_heads}, head_dim=d_model // n_heads)
    backbone = create(
        "retnet",  # its stack of RMS norms and SwiGLU, around attention
        mixer="causal_attention",
        d_model=d_model,
        n_layers=config["num_hidden_layers"],
        n_heads=n_heads,
        d_ff=config["intermediate_size"],
        capacity=config["capacity"] or min(config["max_position_embeddings"], CAPACITY),
        eps=config.get("rms_norm_eps", 1e-6),
    )
    table = Embedding(config["vocab_size"], d_model)
    return Pretrained(table, cast(Layer, backbone), told(table, config, names, "model."))


def _llama_table(config: dict[str, Any], names: Shapes) -> list[Weight]:
    root = before(names, "model.")
    embedding, n = f"{root}embed_tokens.weight", config["num_hidden_layers"]
    n_heads, n_pairs = config["num_attention_heads"], config.get("num_key_value_heads") or config["num_attention_heads"]
    copies = n_heads // n_pairs
    rows = Rows(n_heads, halves=True), Rows(n_pairs, halves=True, copies=copies), Rows(n_pairs, copies=copies)
    found = [Weight("0.table.weight", (embedding,)), *told_weights(config, names, "model.", embedding)]
    for i in range(n):
        theirs, attention, ffn = f"{root}layers.{i}", f"1.{2 * i}.1", f"1.{2 * i + 1}.1"
        found += _attention(f"{attention}.1", f"{theirs}.self_attn", rows, config.get("attention_bias", False))
        found += [
            Weight(f"{attention}.0.weight", (f"{theirs}.input_layernorm.weight",)),
            Weight(f"{ffn}.0.weight", (f"{theirs}.post_attention_layernorm.weight",)),
            Weight(f"{ffn}.1.gate_value.weight", tuple(f"{theirs}.mlp.{part}_proj.weight" for part in ("gate", "up"))),
            Weight(f"{ffn}.1.out.weight", (f"{theirs}.mlp.down_proj.weight",)),
        ]
    return [*found, Weight(f"1.{2 * n}.weight", (f"{root}norm.weight",))]


def _attention(ours: str, theirs: str, rows: tuple[Rows, ...], bias: bool) -> list[Weight]:
    found = [] if bias else [Weight(f"{ours}.{part}.bias", ()) for part in ("qkv", "out")]
    for p in ("weight", "bias") if bias else ("weight",):
        found.append(Weight(f"{ours}.qkv.{p}", tuple(f"{theirs}.{part}_proj.{p}" for part in "qkv"), rows=rows))
        found.append(Weight(f"{ours}.out.{p}", (f"{theirs}.o_proj.{p}",)))
    return found


LLAMA = Family(
    "llama", _llama, _llama_table, _block, ignored=("*.rotary_emb.inv_freq",), options={"capacity": None},
)  # fmt: skip
