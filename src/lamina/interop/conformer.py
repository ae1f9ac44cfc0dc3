"""State dicts of torchaudio's Conformer; the layout is read, the package is not needed."""

from __future__ import annotations

from typing import Any, cast

from lamina.core import Identity, Layer, UserError
from lamina.interop.encoder import attention, count, pairs, root_of
from lamina.interop.family import NEEDED, Family, Pretrained
from lamina.interop.weights import Shapes, Weight, Whole
from lamina.models import create

__all__ = ["CONFORMER"]

FIRST = "conformer_layers.0.self_attn.in_proj_weight"
# a convolution of one tap is a matrix with one more dimension
ONE_TAP = Whole(lambda parts: parts[0][..., 0], lambda ours: [ours[..., None]])


def recognises(names: Shapes) -> bool:
    return any(name.endswith(FIRST) for name in names)


def read(names: Shapes, options: dict[str, Any]) -> dict[str, Any]:
    root = root_of(names, FIRST)
    if f"{root}conformer_layers.0.conv_module.sequential.3.running_mean" not in names:
        raise UserError("use_group_norm=True, a norm over all frames of a row, is not built here, only batch norm")
    return {"root": root, "n_layers": count(names, root, FIRST)}


def build(config: dict[str, Any], names: Shapes) -> Pretrained:
    first = f"{config['root']}conformer_layers.0"
    d_ff, d_model = names[f"{first}.ffn1.sequential.1.weight"]
    kernel = names[f"{first}.conv_module.sequential.2.weight"][-1]
    backbone = create(
        "conformer",
        d_model=d_model,
        n_layers=config["n_layers"],
        n_heads=config["n_heads"],
        d_ff=d_ff,
        kernel=kernel,
        conv_right=kernel // 2,
        left=None,
        right=None,
        rotary=False,
    )
    return Pretrained(Identity(d_model), cast(Layer, backbone))


def table(config: dict[str, Any], names: Shapes) -> list[Weight]:
    found: list[Weight] = []
    for i in range(config["n_layers"]):
        theirs, half, mixer, conv, other, norm = f"{config['root']}conformer_layers.{i}", *_parts(i)
        convs = f"{theirs}.conv_module.sequential"
        found += attention(f"{mixer}.1", f"{theirs}.self_attn")
        rows = [
            (f"{mixer}.0.norm", f"{theirs}.self_attn_layer_norm"),
            (f"{conv}.0.norm", f"{theirs}.conv_module.layer_norm"),
            (f"{conv}.3.conv", f"{convs}.2"),
            (f"{conv}.4", f"{convs}.3"),
            (f"{norm}.norm", f"{theirs}.final_layer_norm"),
        ]
        for ours, name in ((half, "ffn1"), (other, "ffn2")):
            ffn = f"{theirs}.{name}.sequential"
            rows += [
                (f"{ours}.0.norm", f"{ffn}.0"),
                (f"{ours}.1.0.linear", f"{ffn}.1"),
                (f"{ours}.1.2.linear", f"{ffn}.4"),
            ]
        found += pairs(rows)
        found += [Weight(f"{conv}.4.{p}", (f"{convs}.3.{p}",)) for p in ("running_mean", "running_var")]
        for ours, at in ((f"{conv}.1.linear", 0), (f"{conv}.6.linear", 5)):
            found.append(Weight(f"{ours}.weight", (f"{convs}.{at}.weight",), whole=ONE_TAP))
            found.append(Weight(f"{ours}.bias", (f"{convs}.{at}.bias",)))
    return found


def _parts(i: int) -> tuple[str, str, str, str, str]:
    """The bodies of a block's residuals, and its norm; feed-forwards and attention see rows without padding."""
    at = 5 * i
    return f"1.{at}.body.1", f"1.{at + 1}.body.1", f"1.{at + 2}.1", f"1.{at + 3}.body.1", f"1.{at + 4}"


def block(config: dict[str, Any], i: int) -> str:
    return _parts(i)[-1]


CONFORMER = Family(
    name="torchaudio_conformer",
    build=build,
    table=table,
    block=block,
    depth="n_layers",
    ignored=("*.num_batches_tracked",),
    options={"n_heads": NEEDED},
    recognises=recognises,
    read=read,
)
