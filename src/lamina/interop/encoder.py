"""State dicts of torch.nn.TransformerEncoder, and what is PyTorch's in other layouts too."""

from __future__ import annotations

import re
from typing import Any, cast

from lamina.core import Identity, Serial, UserError
from lamina.interop.family import NEEDED, Family, Pretrained
from lamina.interop.weights import Shapes, Weight
from lamina.layers import LayerNorm
from lamina.models import create

__all__ = ["ENCODER", "attention", "count", "pairs", "root_of"]

BOTH = ("weight", "bias")
FIRST = "layers.0.self_attn.in_proj_weight"


def root_of(names: Shapes, first: str) -> str:
    """What stands before the name of a first layer's weight."""
    return next(name.removesuffix(first) for name in names if name.endswith(first))


def count(names: Shapes, root: str, first: str) -> int:
    """How many layers have such a weight."""
    before, after = (re.escape(part) for part in f"{root}{first}".split(".0.", 1))
    return sum(bool(re.fullmatch(rf"{before}\.\d+\.{after}", name)) for name in names)


def _choice(options: dict[str, Any], name: str, *known: Any) -> None:
    if options[name] not in known:
        raise UserError(f"{name}={options[name]!r} is not built here, only {' or '.join(map(repr, known))}")


def attention(ours: str, theirs: str) -> list[Weight]:
    """torch.nn.MultiheadAttention's."""
    return [
        *(Weight(f"{ours}.qkv.{p}", (f"{theirs}.in_proj_{p}",)) for p in BOTH),
        *(Weight(f"{ours}.out.{p}", (f"{theirs}.out_proj.{p}",)) for p in BOTH),
    ]


def pairs(rows: list[tuple[str, str]]) -> list[Weight]:
    """Weight and bias of each."""
    return [Weight(f"{ours}.{p}", (f"{theirs}.{p}",)) for ours, theirs in rows for p in BOTH]


def recognises(names: Shapes) -> bool:
    return any(re.search(rf"(^|\.){re.escape(FIRST)}$", name) for name in names)


def read(names: Shapes, options: dict[str, Any]) -> dict[str, Any]:
    root = root_of(names, FIRST)
    _choice(options, "norm", "pre", "post")
    _choice(options, "activation", "relu", "gelu")
    if f"{root}layers.0.multihead_attn.in_proj_weight" in names:
        raise UserError("a TransformerDecoder, whose layers see a memory, is not built here")
    return {"root": root, "n_layers": count(names, root, FIRST), "last": f"{root}norm.weight" in names}


def build(config: dict[str, Any], names: Shapes) -> Pretrained:
    d_ff, d_model = names[f"{config['root']}layers.0.linear1.weight"]
    reach = {"capacity": config["capacity"]} if config["causal"] else {"left": None, "right": None}
    made = create(
        "transformer",
        mixer="causal_attention" if config["causal"] else "window_attention",
        d_model=d_model,
        n_layers=config["n_layers"],
        n_heads=config["n_heads"],
        d_ff=d_ff,
        norm=config["norm"],
        activation=config["activation"],
        rotary=False,
        **reach,
    )
    layers = [layer for _, layer in cast(Serial, made).children_in_order()]
    if config["norm"] == "pre" and not config["last"]:
        layers = layers[:-1]
    elif config["norm"] == "post" and config["last"]:
        layers.append(LayerNorm(d_model))
    return Pretrained(Identity(d_model), Serial(*layers))


def table(config: dict[str, Any], names: Shapes) -> list[Weight]:
    root, found, each = config["root"], [], 2 if config["norm"] == "pre" else 4
    for i in range(config["n_layers"]):
        theirs, at = f"{root}layers.{i}", each * i
        if config["norm"] == "pre":
            norms, mixer, ffn = (f"1.{at}.1.0", f"1.{at + 1}.1.0"), f"1.{at}.1.1", f"1.{at + 1}.1.1"
        else:
            norms, mixer, ffn = (f"1.{at + 1}", f"1.{at + 3}"), f"1.{at}.1", f"1.{at + 2}.1"
        found += attention(mixer, f"{theirs}.self_attn")
        found += pairs([
            (f"{ffn}.0.linear", f"{theirs}.linear1"), (f"{ffn}.2.linear", f"{theirs}.linear2"),
            (f"{norms[0]}.norm", f"{theirs}.norm1"), (f"{norms[1]}.norm", f"{theirs}.norm2"),
        ])  # fmt: skip
    return found + (pairs([(f"1.{each * config['n_layers']}.norm", f"{root}norm")]) if config["last"] else [])


def block(config: dict[str, Any], i: int) -> str:
    return f"1.{2 * i + 1}" if config["norm"] == "pre" else f"1.{4 * i + 3}"


ENCODER = Family(
    name="transformer_encoder",
    build=build,
    table=table,
    block=block,
    depth="n_layers",
    options={"n_heads": NEEDED, "norm": NEEDED, "activation": "relu", "causal": False, "capacity": 4096},
    recognises=recognises,
    read=read,
)
