"""The state dict of torchscale's RetNetDecoder, by RetNet's authors."""

from __future__ import annotations

from functools import partial
from typing import Any

from lamina.core import UserError
from lamina.interop.family import NEEDED, Family, Pretrained
from lamina.interop.memory import glu_backbone
from lamina.interop.weights import Shapes, Weight
from lamina.layers import Embedding, Linear, Retention

__all__ = ["TORCHSCALE_RETNET"]

Q, DECAY, HEAD = "layers.0.retention.q_proj.weight", "retnet_rel_pos.decay", "output_projection.weight"


def recognises(names: Shapes) -> bool:
    return any(name.endswith(Q) for name in names)


def read(names: Shapes, options: dict[str, Any]) -> dict[str, Any]:
    root = next(name.removesuffix(Q) for name in names if name.endswith(Q))  # fairseq has "decoder."
    if options["activation"] != "swish":
        raise UserError(f"activation={options['activation']!r} is not built here, only 'swish'")
    if f"{root}layer_norm.weight" not in names:
        raise UserError("norms behind the sums (decoder_normalize_before=False, deepnorm) are not built here")
    if f"{root}{DECAY}" not in names:
        raise UserError(f"holds no {root}{DECAY}, whose length is the number of heads; save it with its buffers")
    return {
        "root": root,
        "n_layers": sum(name.endswith(".retention.q_proj.weight") for name in names),
        "n_heads": names[f"{root}{DECAY}"][0],
    }


def build(config: dict[str, Any], names: Shapes) -> Pretrained:
    root, eps = config["root"], config["eps"]
    n_vocab, d_model = names[f"{root}embed_tokens.weight"]
    value_factor, rest = divmod(names[f"{root}layers.0.retention.v_proj.weight"][0], d_model)
    if rest:
        raise UserError(f"values of a width that is no multiple of d_model={d_model} are not built here")
    mixer = partial(Retention, d_model, config["n_heads"], value_factor, eps=eps)
    d_ff = names[f"{root}layers.0.ffn.fc1.weight"][0]
    backbone = glu_backbone(config["n_layers"], d_model, d_ff, eps, mixer)
    head = Linear(d_model, n_vocab, bias=False) if f"{root}{HEAD}" in names else None
    return Pretrained(Embedding(n_vocab, d_model), backbone, head)


def table(config: dict[str, Any], names: Shapes) -> list[Weight]:
    root, n = config["root"], config["n_layers"]
    found = [
        Weight("0.table.weight", (f"{root}embed_tokens.weight",)),
        Weight(f"1.{2 * n}.weight", (f"{root}layer_norm.weight",)),
    ]
    for i in range(n):
        theirs, at, ffn = f"{root}layers.{i}", f"1.{2 * i}.1", f"1.{2 * i + 1}.1"
        found += [
            Weight(f"{at}.0.weight", (f"{theirs}.retention_layer_norm.weight",)),
            Weight(f"{at}.1.project.weight", tuple(f"{theirs}.retention.{part}_proj.weight" for part in "qkvg")),
            Weight(f"{at}.1.out.weight", (f"{theirs}.retention.out_proj.weight",)),
            Weight(f"{ffn}.0.weight", (f"{theirs}.final_layer_norm.weight",)),
            Weight(f"{ffn}.1.gate_value.weight", (f"{theirs}.ffn.fc1.weight", f"{theirs}.ffn.gate.weight")),
            Weight(f"{ffn}.1.out.weight", (f"{theirs}.ffn.fc2.weight",)),
        ]
    return found + ([Weight("2.linear.weight", (f"{root}{HEAD}",))] if f"{root}{HEAD}" in names else [])


def block(config: dict[str, Any], i: int) -> str:
    return f"1.{2 * i + 1}"


TORCHSCALE_RETNET = Family(
    name="torchscale_retnet",
    build=build,
    table=table,
    block=block,
    depth="n_layers",
    ignored=("*retnet_rel_pos.angle", "*retnet_rel_pos.decay"),  # made of the sizes
    options={"activation": NEEDED, "eps": 1e-6},  # of the feed-forward: torchscale's default is another
    recognises=recognises,
    read=read,
)
