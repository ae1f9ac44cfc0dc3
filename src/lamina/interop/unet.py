"""diffusers' UNet2DModel: its folders become a `ddpm`, and a `ddpm`, wherever it was trained, becomes such a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.config import UserError, nearest
from lamina.interop.family import wanted
from lamina.interop.files import read_weights
from lamina.interop.weights import Weight, Whole, give, take
from lamina.layers.unet import Conv3, GroupNorm, ImageAttention, ResidualBlock
from lamina.models import create
from lamina.models.ddpm import UNet, UNetConfig
from lamina.models.io import write_text, write_weights

__all__ = ["STEM", "is_one", "loaded", "recognises", "said", "table", "write"]

CLASS, STEM = "UNet2DModel", "diffusion_pytorch_model"
DEFAULTS: dict[str, Any] = {  # what an absent key says
    "sample_size": None, "in_channels": 3, "out_channels": 3, "center_input_sample": False,
    "time_embedding_type": "positional", "time_embedding_dim": None, "freq_shift": 0, "flip_sin_to_cos": True,
    "down_block_types": ["DownBlock2D", *["AttnDownBlock2D"] * 3], "mid_block_type": "UNetMidBlock2D",
    "up_block_types": [*["AttnUpBlock2D"] * 3, "UpBlock2D"], "block_out_channels": [224, 448, 672, 896],
    "layers_per_block": 2, "mid_block_scale_factor": 1, "downsample_padding": 1, "downsample_type": "conv",
    "upsample_type": "conv", "dropout": 0.0, "act_fn": "silu", "attention_head_dim": 8, "norm_num_groups": 32,
    "attn_norm_num_groups": None, "norm_eps": 1e-5, "resnet_time_scale_shift": "default", "add_attention": True,
    "class_embed_type": None, "num_class_embeds": None, "num_train_timesteps": None,
}  # fmt: skip
OLD = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
MATRIX = Whole(lambda parts: parts[0][:, :, 0, 0], lambda weight: [weight[:, :, None, None]])  # a convolution 1x1


def recognises(config: dict[str, Any]) -> bool:
    """Whether diffusers wrote it."""
    return "_class_name" in config and "model_type" not in config


def loaded(config: dict[str, Any], path: Path) -> nn.Module:
    """create("ddpm", ...) with a folder's weights, in evaluation mode."""
    try:
        network = create("ddpm", **keys_of(config))
    except UserError as error:
        raise UserError(f"{path / 'config.json'}: {str(error).removeprefix('config.json: ')}") from None
    weights = {_modern(name): tensor for name, tensor in read_weights(path, STEM, STEM).items()}
    try:
        network.load_state_dict(take(weights, table(network, _cosines_first(config)), (), {}))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (RuntimeError, IndexError) as error:
        first = str(error).splitlines()[-1].strip()
        raise UserError(f"{path}: the weights do not fit its config.json ({first})") from None
    network.source = config  # type: ignore[assignment]
    return network.eval()


def keys_of(config: dict[str, Any]) -> dict[str, Any]:
    """A `ddpm`'s keys from their config.json; a UserError names the key of a structure that is not built here."""
    wanted(config, _class_name=CLASS)
    for key in config:
        if not key.startswith("_") and key not in DEFAULTS:
            raise UserError(f"config.json: {nearest(key, DEFAULTS, 'key')}")
    have = DEFAULTS | config
    act, groups, pad = have["act_fn"], have["norm_num_groups"], have["downsample_padding"]
    wanted(
        have, center_input_sample=False, time_embedding_type="positional", mid_block_type="UNetMidBlock2D",
        mid_block_scale_factor=1, downsample_type="conv", upsample_type="conv", resnet_time_scale_shift="default",
        class_embed_type=None, act_fn="swish" if act == "swish" else "silu",
        attn_norm_num_groups=groups if have["attn_norm_num_groups"] == groups else None,
        downsample_padding=0 if pad == 0 else 1,
    )  # fmt: skip
    channels, classes = have["block_out_channels"], have["num_class_embeds"]
    down, up = (_attending(have, way, len(channels)) for way in ("down", "up"))
    last = len(channels) - 1
    return {
        "size": _size(have["sample_size"], 1 << last), "d_in": have["in_channels"], "d_out": have["out_channels"],
        "channels": channels, "n_blocks": have["layers_per_block"], "attention": down,
        "attention_up": [last - i for i in reversed(up)], "attention_mid": have["add_attention"],
        "d_head": have["attention_head_dim"], "d_time": have["time_embedding_dim"], "n_classes": classes or 0,
        "no_class": not classes, "dropout": have["dropout"], "n_groups": groups, "eps": have["norm_eps"],
        "shift": have["freq_shift"], "pad": "both" if pad else "end",
    }  # fmt: skip


def _attending(have: dict[str, Any], way: str, levels: int) -> list[int]:
    """Which of the blocks on that way attend, in their order."""
    key = f"{way}_block_types"
    kinds = [str(kind).removeprefix("UNetRes") for kind in have[key]]
    plain = f"{way.title()}Block2D"
    for kind in kinds:
        if kind not in (plain, f"Attn{plain}"):
            raise UserError(f"config.json: {key}: {kind!r} is not built here, only {plain!r} and 'Attn{plain}'")
    if len(kinds) != levels:
        raise UserError(f"config.json: {key} has {len(kinds)} levels, block_out_channels {levels}")
    return [i for i, kind in enumerate(kinds) if kind != plain]


def _size(size: Any, most: int) -> Any:
    """Where it is not said, 32 or what can be halved so often."""
    return max(32, most) if size is None else size


def _cosines_first(config: dict[str, Any]) -> bool:
    return bool(config.get("flip_sin_to_cos", DEFAULTS["flip_sin_to_cos"]))


def _modern(name: str) -> str:
    """The name that older releases had otherwise."""
    for old, new in OLD.items():
        name = name.replace(old, new) if ".attentions." in name else name
    return name


def said(network: nn.Module) -> dict[str, Any]:
    """Their config.json of a `ddpm`: the one it came with, or in their words what it is."""
    if hasattr(network, "source"):
        return dict(network.source)  # type: ignore[arg-type]
    ours: UNetConfig = network.config  # type: ignore[assignment]
    levels = range(len(ours.channels))
    up = ours.attention if ours.attention_up is None else ours.attention_up
    height, width = ours.image
    groups = next(m.n_groups for m in network.modules() if isinstance(m, GroupNorm))
    changed = {
        "sample_size": width if height == width else [height, width], "in_channels": ours.d_in,
        "out_channels": ours.d_out or ours.d_in, "time_embedding_dim": ours.d_time, "freq_shift": ours.shift,
        "flip_sin_to_cos": False, "block_out_channels": list(ours.channels), "layers_per_block": ours.n_blocks,
        "down_block_types": ["AttnDownBlock2D" if i in ours.attention else "DownBlock2D" for i in levels],
        "up_block_types": ["AttnUpBlock2D" if i in up else "UpBlock2D" for i in reversed(levels)],
        "add_attention": ours.attention_mid, "attention_head_dim": ours.d_head, "norm_num_groups": groups,
        "norm_eps": ours.eps, "downsample_padding": int(ours.pad == "both"), "dropout": ours.dropout,
        "num_class_embeds": ours.n_classes + ours.no_class if ours.n_classes else None,
    }  # fmt: skip
    return {"_class_name": CLASS, **DEFAULTS, **changed}


def table(network: nn.Module, cosines_first: bool) -> list[Weight]:
    """Which of their weights go where."""
    blocks = {name: m for name, m in network.named_modules() if isinstance(m, ResidualBlock)}
    found = [*_both("stem", "conv_in"), *_both("norm", "conv_norm_out"), *_both("head", "conv_out")]
    first, *bias = _both("time.first", "time_embedding.linear_1")
    waves = Whole(lambda parts: _swapped(parts[0]), lambda weight: [_swapped(weight)])
    found += [Weight(first.ours, first.theirs, whole=waves if cosines_first else None), *bias]
    found += _both("time.second", "time_embedding.linear_2")
    if network.n_classes:
        found.append(Weight("classes.weight", ("class_embedding.weight",)))
    widths = [block.d_out for block in blocks.values()]
    rows = Whole(torch.cat, lambda weight: list(weight.split(widths)))
    for part in ("weight", "bias"):
        theirs = tuple(f"{_theirs(name)}.time_emb_proj.{part}" for name in blocks)
        found.append(Weight(f"shift.{part}", theirs, whole=rows))
    for name, block in blocks.items():
        for part in ("norm1", "conv1", "norm2", "conv2"):
            found += _both(f"{name}.{part}", f"{_theirs(name)}.{part}")
        if isinstance(block.skip, nn.Linear):
            weight, bias_of = _both(f"{name}.skip", f"{_theirs(name)}.conv_shortcut")
            found += [Weight(weight.ours, weight.theirs, whole=MATRIX), bias_of]
    for name, module in network.named_modules():
        if isinstance(module, ImageAttention):
            found += _both(f"{name}.norm", f"{_theirs(name)}.group_norm")
            found += _both(f"{name}.qkv", *(f"{_theirs(name)}.to_{part}" for part in "qkv"))
            found += _both(f"{name}.out", f"{_theirs(name)}.to_out.0")
        elif isinstance(module, Conv3) and name.endswith(".scale"):
            found += _both(name, _theirs(name))
    return found


def _both(ours: str, *theirs: str) -> list[Weight]:
    return [Weight(f"{ours}.{part}", tuple(f"{t}.{part}" for t in theirs)) for part in ("weight", "bias")]


def _theirs(name: str) -> str:
    """A part's path in theirs."""
    way, rest = name.split(".", 1)
    scale = "downsamplers.0.conv" if way == "down" else "upsamplers.0.conv"
    rest = rest.replace("blocks.", "resnets.").replace("attention.", "attentions.").replace("scale", scale)
    return f"{'mid_block' if way == 'mid' else f'{way}_blocks'}.{rest}"


def _swapped(weight: Tensor) -> Tensor:
    """The columns of the cosines before those of the sines, or back."""
    return weight.roll(weight.shape[1] // 2, 1)


def is_one(network: nn.Module) -> bool:
    """Whether it is a U-Net, which a UNet2DModel can be."""
    return isinstance(network, UNet)


def write(network: nn.Module, path: Path) -> None:
    """A folder as diffusers' from_pretrained reads it."""
    config = said(network)
    weights = give(network.state_dict(), table(network, _cosines_first(config)), {})
    path.mkdir(parents=True, exist_ok=True)
    write_weights(path / f"{STEM}.safetensors", weights, {"format": "pt"})
    write_text(path / "config.json", json.dumps(config, indent=2) + "\n")  # last: with it the folder is whole
