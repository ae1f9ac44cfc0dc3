"""Stacks over a matrix memory: fla's DeltaNet, gated DeltaNet and RetNet, with or without a head."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from lamina.core import Layer, Residual, Serial, UserError
from lamina.interop.family import Family, Pretrained, before, told, told_weights, wanted
from lamina.interop.weights import Rows, Shapes, Weight
from lamina.layers import DeltaNet, Embedding, Retention, RMSNorm, SwiGLU

__all__ = ["FLA_DELTANET", "FLA_GATED_DELTANET", "FLA_RETNET", "glu_backbone"]

AS_IT_IS = Rows(1)
ROOT = "model."
COMMON = {"hidden_act": "swish", "attn": None, "attnres_block_size": None}  # every layer is of one kind


def glu_backbone(n: int, d_model: int, d_ff: int, eps: float, mixer: Callable[[], Layer]) -> Layer:
    """x + mixer(norm(x)), then x + swiglu(norm(x)), n times, and a norm."""
    layers = [Residual(RMSNorm(d_model, eps), body) for _ in range(n) for body in (mixer(), SwiGLU(d_model, d_ff))]
    return Serial(*layers, RMSNorm(d_model, eps))


def _model(config: dict[str, Any], names: Shapes, mixer: Callable[[], Layer]) -> Pretrained:
    wanted(config, **COMMON)
    d_model, n = config["hidden_size"], config["num_hidden_layers"]
    d_ff = names[f"{before(names, ROOT)}layers.0.mlp.gate_proj.weight"][0]  # their config gives it in four ways
    stem = Embedding(config["vocab_size"], d_model)
    try:
        backbone = glu_backbone(n, d_model, d_ff, config.get("norm_eps", 1e-6), mixer)
    except ValueError as error:
        raise UserError(f"config.json: {error}") from None
    return Pretrained(stem, backbone, told(stem, config, names, ROOT))


def _table(config: dict[str, Any], names: Shapes, mixer: Callable[[str, str], list[Weight]]) -> list[Weight]:
    """mixer(ours, theirs): the weights of one."""
    root, n = before(names, ROOT), config["num_hidden_layers"]
    embedding = f"{root}embeddings.weight"
    found = [Weight("0.table.weight", (embedding,)), *told_weights(config, names, ROOT, embedding)]
    for i in range(n):
        theirs, at, ffn = f"{root}layers.{i}", f"1.{2 * i}.1", f"1.{2 * i + 1}.1"
        found += [
            Weight(f"{at}.0.weight", (f"{theirs}.attn_norm.weight",)),
            *mixer(f"{at}.1", f"{theirs}.attn"),
            Weight(f"{ffn}.0.weight", (f"{theirs}.mlp_norm.weight",)),
            Weight(f"{ffn}.1.gate_value.weight", (f"{theirs}.mlp.gate_proj.weight", f"{theirs}.mlp.up_proj.weight")),
            Weight(f"{ffn}.1.out.weight", (f"{theirs}.mlp.down_proj.weight",)),
        ]
    return [*found, Weight(f"1.{2 * n}.weight", (f"{root}norm.weight",))]


def _block(config: dict[str, Any], i: int) -> str:
    return f"1.{2 * i + 1}"


def _whole(config: dict[str, Any], key: str, default: float) -> int:
    """An expansion, which must be a whole number here."""
    found = config.get(key, default)
    if found != int(found):
        raise UserError(f"config.json: {key}={found} is not built here, only whole numbers")
    return int(found)


def _short_conv(config: dict[str, Any], default: bool) -> int:
    return int(config.get("conv_size", 4)) if config.get("use_short_conv", default) else 0


def _delta(config: dict[str, Any], gated: bool, **keys: Any) -> Callable[[], Layer]:
    """The mixer of both; keys say how wide its heads are."""
    beta_max = 2.0 if config.get("allow_neg_eigval", False) else 1.0
    return lambda: DeltaNet(
        config["hidden_size"],
        short_conv=_short_conv(config, True),
        gated=gated,
        beta_max=beta_max,
        eps=config.get("norm_eps", 1e-6),
        soft=1e-6,
        **keys,
    )


def _deltanet(config: dict[str, Any], names: Shapes) -> Pretrained:
    wanted(config, expand_k=1.0, use_gate=False, use_beta=True, qk_norm="l2", qk_activation="silu", conv_bias=False)
    keys = {"n_heads": config["num_heads"], "value_factor": _whole(config, "expand_v", 1.0)}
    return _model(config, names, _delta(config, False, **keys))


def _deltanet_table(config: dict[str, Any], names: Shapes) -> list[Weight]:
    return _table(config, names, lambda ours, theirs: _delta_weights(ours, theirs, names, ()))


def _gated(config: dict[str, Any], names: Shapes) -> Pretrained:
    wanted(config, use_gate=True, conv_bias=False)
    if (gate := config.get("output_gate_activation", "swish")) not in ("swish", "silu"):
        raise UserError(f"config.json: output_gate_activation={gate!r} is not built here, only 'swish'")
    keys = {"n_heads": config.get("num_v_heads") or config["num_heads"], "d_head": config["head_dim"]}
    return _model(config, names, _delta(config, True, value_factor=_whole(config, "expand_v", 2.0), **keys))


def _gated_table(config: dict[str, Any], names: Shapes) -> list[Weight]:
    n_heads = config["num_heads"]
    shared = Rows(n_heads, copies=(config.get("num_v_heads") or n_heads) // n_heads)  # a key's head for several values'
    return _table(config, names, lambda ours, theirs: _delta_weights(ours, theirs, names, "ag", shared))


def _delta_weights(ours: str, theirs: str, names: Shapes, more: Iterable[str], key: Rows = AS_IT_IS) -> list[Weight]:
    rows = (key, key, AS_IT_IS)
    parts = [*"qkvb", *more]
    found = [
        Weight(
            f"{ours}.project.weight",
            tuple(f"{theirs}.{part}_proj.weight" for part in parts),
            rows=(*rows, *[AS_IT_IS] * (len(parts) - 3)),
        ),
        Weight(f"{ours}.norm", (f"{theirs}.o_norm.weight",)),
        Weight(f"{ours}.out.weight", (f"{theirs}.o_proj.weight",)),
    ]
    if f"{theirs}.q_conv1d.weight" in names:
        found.append(
            Weight(f"{ours}.conv.weight", tuple(f"{theirs}.{part}_conv1d.weight" for part in "qkv"), rows=rows)
        )
    if more:
        found += [Weight(f"{ours}.{part}", (f"{theirs}.{part}",)) for part in ("A_log", "dt_bias")]
    return found


def _retnet(config: dict[str, Any], names: Shapes) -> Pretrained:
    wanted(config, expand_k=1.0, feature_map=None, use_output_gate=True, use_short_conv=False)
    mixer = partial(
        Retention,
        config["hidden_size"],
        config["num_heads"],
        _whole(config, "expand_v", 2.0),
        eps=config.get("norm_eps", 1e-6),
        closed=False,
        weighted=config.get("elementwise_affine", True),
    )
    return _model(config, names, mixer)


def _retnet_table(config: dict[str, Any], names: Shapes) -> list[Weight]:
    n_heads = config["num_heads"]
    n_pairs = config.get("num_kv_heads") or n_heads
    copies = n_heads // n_pairs
    rows = Rows(n_heads, halves=True), Rows(n_pairs, halves=True, copies=copies), Rows(n_pairs, copies=copies), AS_IT_IS

    def mixer(ours: str, theirs: str) -> list[Weight]:
        # one norm with its gate, or the two apart, by whether they fuse them: the same numbers
        norm = next((n for n in (f"{theirs}.g_norm_swish_gate.weight", f"{theirs}.g_norm.weight") if n in names), None)
        return [
            Weight(f"{ours}.project.weight", tuple(f"{theirs}.{part}_proj.weight" for part in "qkvg"), rows=rows),
            *([Weight(f"{ours}.norm", (norm,))] if norm else []),
            Weight(f"{ours}.out.weight", (f"{theirs}.o_proj.weight",)),
        ]

    return _table(config, names, mixer)


FLA_DELTANET = Family("delta_net", _deltanet, _deltanet_table, _block)
FLA_GATED_DELTANET = Family("gated_deltanet", _gated, _gated_table, _block)
FLA_RETNET = Family("retnet", _retnet, _retnet_table, _block)
