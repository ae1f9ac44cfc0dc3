"""Mamba's checkpoints, frames alone or with the head that tells the next token."""

from __future__ import annotations

from math import ceil
from typing import Any, cast

from lamina.core import Layer, UserError
from lamina.interop.family import Family, Pretrained, before, told, told_weights, wanted
from lamina.interop.weights import Shapes, Weight
from lamina.layers import Embedding
from lamina.models import create

__all__ = ["MAMBA"]


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


def table(config: dict[str, Any], names: Shapes) -> list[Weight]:
    root = before(names, "backbone.")
    embedding = f"{root}embeddings.weight"
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


MAMBA = Family("mamba", build, table, block)
