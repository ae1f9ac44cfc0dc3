"""wav2vec 2.0 on Conformer blocks with relative positions, as transformers has it."""

from __future__ import annotations

from typing import Any

from lamina.core import UserError
from lamina.interop.conformer import ONE_TAP
from lamina.interop.encoder import pairs
from lamina.interop.family import Family, before
from lamina.interop.wav2vec2 import BOTH, Wav2Vec2Pretrained, around, built
from lamina.interop.weights import Shapes, Weight

__all__ = ["WAV2VEC2_CONFORMER"]

ROOT = "wav2vec2_conformer."


def build(config: dict[str, Any], names: Shapes) -> Wav2Vec2Pretrained:
    if config.get("hidden_act", "gelu") not in ("swish", "silu"):
        raise UserError(f"config.json: hidden_act={config.get('hidden_act', 'gelu')!r} is not built here, only 'swish'")
    if (places := config.get("position_embeddings_type")) != "relative":
        why = "; its rotary ones turn the frames, not queries and keys" if places == "rotary" else ""
        raise UserError(f"config.json: position_embeddings_type={places!r} is not built here, only 'relative'{why}")
    return built(config, names, blocks="conformer", conv_kernel=config.get("conv_depthwise_kernel_size", 31))


def table(config: dict[str, Any], names: Shapes) -> list[Weight]:
    found, root, rows = around(config, names, ROOT), before(names, ROOT), []
    for i in range(config["num_hidden_layers"]):
        half, mixer, conv, other, norm = _parts(config, i)
        theirs = f"{root}encoder.layers.{i}"
        found += [
            Weight(f"{mixer}.1.qkv.{p}", tuple(f"{theirs}.self_attn.linear_{x}.{p}" for x in "qkv")) for p in BOTH
        ]
        places = f"{mixer}.1.relative"
        found.append(Weight(f"{places}.project.weight", (f"{theirs}.self_attn.linear_pos.weight",)))
        found += [Weight(f"{places}.{x}", (f"{theirs}.self_attn.pos_bias_{x}",)) for x in "uv"]
        convs = f"{theirs}.conv_module"
        for ours, name in (("1.linear", "pointwise_conv1"), ("6.linear", "pointwise_conv2")):
            found.append(Weight(f"{conv}.{ours}.weight", (f"{convs}.{name}.weight",), whole=ONE_TAP))
        found.append(Weight(f"{conv}.3.conv.weight", (f"{convs}.depthwise_conv.weight",)))
        found += [Weight(f"{conv}.{ours}.bias", ()) for ours in ("1.linear", "3.conv", "6.linear")]  # they have none
        found += [Weight(f"{conv}.4.{p}", (f"{convs}.batch_norm.{p}",)) for p in ("running_mean", "running_var")]
        rows += [
            (f"{mixer}.0.norm", f"{theirs}.self_attn_layer_norm"),
            (f"{mixer}.1.out", f"{theirs}.self_attn.linear_out"),
            (f"{conv}.0.norm", f"{convs}.layer_norm"),
            (f"{conv}.4", f"{convs}.batch_norm"),
            (f"{norm}.norm", f"{theirs}.final_layer_norm"),
        ]
        for ours, name in ((half, "ffn1"), (other, "ffn2")):
            rows += [
                (f"{ours}.0.norm", f"{theirs}.{name}_layer_norm"),
                (f"{ours}.1.0.linear", f"{theirs}.{name}.intermediate_dense"),
                (f"{ours}.1.2.linear", f"{theirs}.{name}.output_dense"),
            ]
    return found + pairs([*rows, (f"1.4.{_first(config) + 1}.norm", f"{root}encoder.layer_norm")])


def _first(config: dict[str, Any]) -> int:
    """The place of the blocks among what relates frames: dropout stands before them."""
    return int(bool(config.get("hidden_dropout", 0.1)))


def _parts(config: dict[str, Any], i: int) -> tuple[str, str, str, str, str]:
    """The bodies of a block's residuals, and its norm."""
    at, inside = f"1.4.{_first(config)}", 5 * i
    return (f"{at}.{inside}.body.1", f"{at}.{inside + 1}.body.1", f"{at}.{inside + 2}.1", f"{at}.{inside + 3}.body.1",
            f"{at}.{inside + 4}")  # fmt: skip


def block(config: dict[str, Any], i: int) -> str:
    return _parts(config, i)[-1]


WAV2VEC2_CONFORMER = Family(
    name="wav2vec2-conformer",
    build=build,
    table=table,
    block=block,
    # the convolution for places is in their checkpoints, and nothing uses it
    ignored=("*.num_batches_tracked", "*.pos_conv_embed.*", "*embed_positions*"),
    options={"level": False},
)
