"""State dicts of torch.nn.LSTM, GRU and RNN: one file, alone or with one Linear behind it."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from lamina.core import Bidirectional, Identity, Layer, Serial, UserError
from lamina.interop.family import Family, Pretrained
from lamina.interop.weights import Shapes, Weight, Whole
from lamina.layers import GRU, LSTM, RNN, Linear

__all__ = ["RECURRENT"]

FIRST = re.compile(r"(?P<root>.*)weight_ih_l0")
KINDS: dict[int, type[LSTM] | type[GRU] | type[RNN]] = {4: LSTM, 3: GRU, 1: RNN}  # gates: what it is


def recognises(names: Shapes) -> bool:
    return any(FIRST.fullmatch(name) for name in names)


def read(names: Shapes, options: dict[str, Any]) -> dict[str, Any]:
    roots = [found["root"] for name in names if (found := FIRST.fullmatch(name))]
    if len(roots) > 1:
        raise UserError(f"holds {len(roots)} recurrent stacks ({', '.join(roots)}); save one of them alone")
    root = roots[0]
    if f"{root}weight_hr_l0" in names:
        raise UserError(f"{root}weight_hr_l0: a projection of the state (proj_size) is not built here")
    d_out = names[f"{root}weight_hh_l0"][1]
    gates, rest = divmod(names[f"{root}weight_hh_l0"][0], d_out)
    if rest or gates not in KINDS:
        raise UserError(f"{root}weight_hh_l0: {list(names[f'{root}weight_hh_l0'])} is no shape of an LSTM, GRU or RNN")
    return {
        "root": root,
        "gates": gates,
        "n_layers": sum(bool(re.fullmatch(re.escape(root) + r"weight_ih_l\d+", name)) for name in names),
        "both": f"{root}weight_ih_l0_reverse" in names,
        "bias": f"{root}bias_ih_l0" in names,
        "head": next((name for name in _linears(names) if name != root), ""),
    }


def _linears(names: Shapes) -> list[str]:
    """Matrices with a bias: an embedding, which stands in front, has none."""
    ends = [name.removesuffix("weight") for name, shape in names.items() if name.endswith("weight") and len(shape) == 2]
    return [name for name in ends if f"{name}bias" in names]


def build(config: dict[str, Any], names: Shapes) -> Pretrained:
    kind, root = KINDS[config["gates"]], config["root"]
    layers: list[Layer] = []
    for i in range(config["n_layers"]):
        d_in, d_out = names[f"{root}weight_ih_l{i}"][1], names[f"{root}weight_hh_l{i}"][1]
        layers.append(Bidirectional(kind(d_in, d_out), kind(d_in, d_out)) if config["both"] else kind(d_in, d_out))
    head = None
    if name := config["head"]:
        d_out, d_in = names[f"{name}weight"]
        head = Linear(d_in, d_out)
    return Pretrained(Identity(layers[0].d_in), Serial(*layers), head)


def table(config: dict[str, Any], names: Shapes) -> list[Weight]:
    found: list[Weight] = []
    root, bias = config["root"], BIASES[config["gates"]]
    for i in range(config["n_layers"]):
        # a direction backwards stands between two reversals
        for ours, end in ((f"1.{i}.0", ""), (f"1.{i}.1.1", "_reverse")) if config["both"] else ((f"1.{i}", ""),):
            both = [tuple(f"{root}{what}_{part}_l{i}{end}" for part in ("ih", "hh")) for what in ("weight", "bias")]
            found.append(Weight(f"{ours}.weight", both[0], transposed=True))
            found.append(Weight(f"{ours}.bias", both[1], whole=bias) if config["bias"] else Weight(f"{ours}.bias", ()))
    if name := config["head"]:
        found += [Weight(f"2.linear.{p}", (f"{name}{p}",)) for p in ("weight", "bias")]
    return found


def block(config: dict[str, Any], i: int) -> str:
    return f"1.{i}"


def _outer(parts: list[Tensor]) -> Tensor:
    """A GRU's reset gate stands before the recurrent bias of its last block, so that this one stays apart."""
    inner, outer = parts
    early = 2 * len(inner) // 3
    return torch.cat([inner[:early] + outer[:early], inner[early:], outer[early:]])


def _inner(ours: Tensor) -> list[Tensor]:
    late = len(ours) // 4
    return [ours[:-late], torch.cat([ours.new_zeros(2 * late), ours[-late:]])]


# theirs are two of which only the sum is ever seen: it goes back as the first, the second is zeros
SUM = Whole(lambda parts: parts[0] + parts[1], lambda ours: [ours, torch.zeros_like(ours)])
BIASES = {4: SUM, 3: Whole(_outer, _inner), 1: SUM}

RECURRENT = Family(
    name="recurrent",
    build=build,
    table=table,
    block=block,
    depth="n_layers",
    ignored=("similarity_weight", "similarity_bias"),  # of the loss that speaker encoders are trained with (GE2E)
    recognises=recognises,
    read=read,
)
