"""Checkpoints that others trained: a folder in the Hugging Face layout becomes a lamina model, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from lamina import models
from lamina.core.config import UserError, nearest
from lamina.interop import alexnet
from lamina.interop.bert import BERT
from lamina.interop.decoder import GPT2, LLAMA
from lamina.interop.family import Family, Pretrained
from lamina.interop.files import read_config, read_weights
from lamina.interop.mamba import MAMBA
from lamina.interop.tokens import separator
from lamina.interop.weights import give, take
from lamina.models.io import write_text, write_weights

__all__ = ["FAMILIES", "Family", "Pretrained", "blocks", "export", "load"]

FAMILIES: dict[str, Family] = {family.name: family for family in (BERT, GPT2, LLAMA, MAMBA)}


def load(path: str | Path) -> nn.Module:
    """A model with its weights, in evaluation mode: from a folder that `save` wrote, or from others' config.json and
    model.safetensors (also in shards), whose family its `model_type` tells. Nothing is unpickled.

    The first gives the model that was saved, the second a `Pretrained`: stem, backbone and head as one layer. A file
    with a state dict alone is known by its names: torchvision's alexnet gives an `alexnet` of one tower.
    """
    path = Path(path)
    if path.is_file():
        return _bare(path)
    config = read_config(path)
    if "schema" in config:
        return models.load(path)
    family = _family(config, path)
    weights = read_weights(path)
    if config.get("sep_token_id") is None and (token := separator(path)) is not None:
        config["sep_token_id"] = token
    try:
        network = family.build(config, list(weights))
    except KeyError as error:
        raise UserError(f"{path / 'config.json'}: has no {error.args[0]!r}, which a {family.name} needs") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    try:
        network.load_state_dict(
            take(weights, family.table(config, list(weights)), family.ignored, network.state_dict())
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise UserError(f"{path}: the weights do not fit its config.json ({first})") from None
    network.family, network.source, network.names = family.name, config, tuple(weights)
    return network.eval()


def export(network: nn.Module, folder: str | Path) -> None:
    """Writes what `load` made of others' folder back in their layout: config.json and model.safetensors.

    An alexnet of one tower goes to one FILE.safetensors, which torchvision's alexnet reads.
    """
    if alexnet.is_one(network):
        alexnet.write(network, Path(folder))
        return
    if not isinstance(network, Pretrained) or network.family not in FAMILIES:
        raise UserError(f"this {type(network).__name__} was not loaded from a Hugging Face folder; use lamina.save")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table = FAMILIES[network.family].table(network.source, network.names)
    weights = give(network.state_dict(), table)
    write_weights(folder / "model.safetensors", weights, {"format": "pt"})
    write_text(folder / "config.json", json.dumps(network.source, indent=2) + "\n")


def blocks(network: Pretrained) -> list[str]:
    """The paths of its blocks, in order, for `lamina.taps`."""
    family = FAMILIES[network.family]
    return [family.block(network.source, i) for i in range(network.source[family.depth])]


def _bare(path: Path) -> nn.Module:
    """What a file holds that has no config.json beside it."""
    weights = read_weights(path)
    if not alexnet.recognises({name: tuple(tensor.shape) for name, tensor in weights.items()}):
        raise UserError(
            f"{path}: its names ({next(iter(weights))}, ...) are of no kind that is known without a config.json, only "
            "torchvision's alexnet is; give the folder where config.json lies"
        )
    return alexnet.filled(weights, path)


def _family(config: dict[str, Any], path: Path) -> Family:
    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise UserError(f"{path / 'config.json'}: names no model_type; lamina cannot tell what it is")
    if kind not in FAMILIES:
        raise UserError(f"{path / 'config.json'}: {nearest(kind, FAMILIES, 'model_type')}")
    return FAMILIES[kind]
