"""Mamba's checkpoints, transformers' and its authors', frames alone or with the head that tells the next token."""

from __future__ import annotations

from math import ceil
from typing import Any, cast

from lamina.core import Layer, UserError
from lamina.interop.family import Family, Pretrained, before, told, told_weights, wanted
from lamina.interop.weights import Shapes, Weight
from lamina.layers import Embedding
from lamina.models import create

__all__ = ["MAMBA", "MAMBA_SSM"]


def build(config: dict[str, Any], names: Shapes) -> Pretrained:
    wanted(config, hidden_act="silu", use_bias=False, use_conv_bias=True)
    d_model = config["hidden_size"]
    rank = config.get("time_step_rank", "auto")
    if rank not in ("auto", ceil(d_model / 16)):
        raise UserError(f"config.json: time_step_rank={rank} is not built here, only hidden_size / 16")
    backbone = create(
        "mamba",
        d_model=d_model,
        n_layers=config["num_hidden_layers"],
        d_state=config.get("state_size", 16),
        expand=config.get("expand", 2),
        short_conv=config.get("conv_kernel", 4),
        eps=config.get("layer_norm_epsilon", 1e-5),
    )
    stem = Embedding(config["vocab_size"], d_model)
    return Pretrained(stem, cast(Layer, backbone), told(stem, config, names, "backbone."))


def table(config: dict[str, Any], names: Shapes, embedding: str = "embeddings.weight") -> list[Weight]:
    root = before(names, "backbone.")
    embedding = f"{root}{embedding}"
    found = [Weight("0.table.weight", (embedding,)), *told_weights(config, names, "backbone.", embedding)]
    parts = ("in_proj.weight", "conv1d.weight", "conv1d.bias", "x_proj.weight", "dt_proj.weight", "dt_proj.bias",
             "A_log", "D", "out_proj.weight")  # fmt: skip
    n = config["num_hidden_layers"]
    for i in range(n):
        found.append(Weight(f"1.{i}.1.0.weight", (f"{root}layers.{i}.norm.weight",)))
        found += [Weight(f"1.{i}.1.1.{part}", (f"{root}layers.{i}.mixer.{part}",)) for part in parts]
    return [*found, Weight(f"1.{n}.weight", (f"{root}norm_f.weight",))]


def block(config: dict[str, Any], i: int) -> str:
    return f"1.{i}"


def _told(config: dict[str, Any], names: Shapes) -> dict[str, Any]:
    """What the authors' config.json says, in transformers' words; they write only what is not the default."""
    ssm = config.get("ssm_cfg") or {}
    wanted(config, rms_norm=True, attn_layer_idx=[], d_intermediate=0)
    wanted(ssm, layer="Mamba1")
    return {
        "hidden_size": config["d_model"],
        "num_hidden_layers": config["n_layer"],
        "vocab_size": names[f"{before(names, 'backbone.')}embedding.weight"][0],  # filled up to a multiple
        "state_size": ssm.get("d_state", 16),
        "expand": ssm.get("expand", 2),
        "conv_kernel": ssm.get("d_conv", 4),
        "time_step_rank": ssm.get("dt_rank", "auto"),
        "use_bias": ssm.get("bias", False),
        "use_conv_bias": ssm.get("conv_bias", True),
        "tie_word_embeddings": config.get("tie_embeddings", True),
    }


def build_ssm(config: dict[str, Any], names: Shapes) -> Pretrained:
    return build(_told(config, names), names)


def table_ssm(config: dict[str, Any], names: Shapes) -> list[Weight]:
    return table(_told(config, names), names, "embedding.weight")


MAMBA = Family("mamba", build, table, block)
MAMBA_SSM = Family(
    "mamba_ssm", build_ssm, table_ssm, block, "n_layer",
    marks=("d_model", "n_layer", "ssm_cfg"), file="pytorch_model.bin",
)  # fmt: skip
