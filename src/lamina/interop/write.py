"""export: what came from others' files goes back in their layout."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from torch import nn

from lamina.core.config import UserError
from lamina.interop.family import Family, Pretrained
from lamina.interop.registry import FAMILIES, FILES
from lamina.interop.weights import give
from lamina.models.io import write_text, write_weights

__all__ = ["blocks", "export", "family_of"]

_BY_NAME = FAMILIES | {family.name: family for family in FILES}


def family_of(network: nn.Module) -> Family:
    """The family that a model came from."""
    if not isinstance(network, Pretrained) or network.family not in _BY_NAME:
        raise UserError(f"this {type(network).__name__} was not loaded from others' checkpoint; use lamina.save")
    return _BY_NAME[network.family]


def export(network: nn.Module, path: str | Path) -> None:
    """Writes what `load` made of others' files back in their layout, also after training.

    What came from a folder goes to a folder: config.json, and the weights under the name that the family has for them.
    A state dict goes to one file, whose name ends in .safetensors.
    """
    family, path = family_of(network), Path(path)
    weights = give(network.state_dict(), family.table(network.source, network.shapes), network.shapes)
    if family.recognises is not None:
        if path.suffix != ".safetensors":
            raise UserError(
                f"{path}: a {family.name} checkpoint is one file of weights; name it {path.stem}.safetensors"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_weights(path, weights, {"format": "pt"})
        return
    path.mkdir(parents=True, exist_ok=True)
    if family.file.endswith(".bin"):
        part = path / f"{family.file}.part"
        torch.save(weights, part)
        os.replace(part, path / family.file)
    else:
        write_weights(path / family.file, weights, {"format": "pt"})
    config = {key: value for key, value in network.source.items() if key not in family.options}
    write_text(path / "config.json", json.dumps(config, indent=2) + "\n")


def blocks(network: Pretrained) -> list[str]:
    """The paths of its blocks, in order, for `lamina.taps`."""
    family = family_of(network)
    return [family.block(network.source, i) for i in range(network.source[family.depth])]
