"""export: what came from others' files goes back in their layout; export_parts: what lamina trained goes to it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from lamina.core import Layer
from lamina.core.config import UserError
from lamina.interop import alexnet, unet, wav2vec2
from lamina.interop.convert import converted
from lamina.interop.family import Family, Pretrained
from lamina.interop.registry import FAMILIES, FILES
from lamina.interop.weights import give
from lamina.models.io import write_text, write_weights

__all__ = ["blocks", "export", "export_heard", "export_parts", "family_of"]

_BY_NAME = FAMILIES | {family.name: family for family in FILES}


def family_of(network: nn.Module) -> Family:
    """The family that a model came from."""
    if not isinstance(network, Pretrained) or network.family not in _BY_NAME:
        raise UserError(f"this {type(network).__name__} was not loaded from others' checkpoint; use lamina.save")
    return _BY_NAME[network.family]


def export(network: nn.Module, path: str | Path) -> None:
    """Writes what `load` made of others' files back in their layout, also after training.

    What came from a folder goes to a folder: config.json, and the weights under the name that the family has for them.
    A state dict goes to one file, whose name ends in .safetensors; so does an alexnet of one tower, as torchvision's.
    A `ddpm` goes to a folder that diffusers reads, wherever it was trained.
    """
    path = Path(path)
    if alexnet.is_one(network):
        alexnet.write(network, path)
        return
    if unet.is_one(network):
        unet.write(network, path)
        return
    family = family_of(network)
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
    config = {key: value for key, value in network.source.items() if key not in family.options}
    _write(path, config, weights, family.file)


def export_heard(
    backbone: nn.Module, head: nn.Module | None, contrast: nn.Module | None, path: str | Path,
    *, rate: int | None, labels: Sequence[str] = (),
) -> None:  # fmt: skip
    """Writes a wav2vec2 that lamina trained as Wav2Vec2ForCTC (head, of the blank and the labels), as
    Wav2Vec2ForPreTraining (contrast) or Wav2Vec2Model, and what their processor needs: the rate, the labels.
    """
    config, weights = wav2vec2.said(cast(Layer, backbone), head, contrast)
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    level = bool(backbone.config.level)  # type: ignore[union-attr]
    heard = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1, "padding_value": 0.0,
             "do_normalize": level, "return_attention_mask": False, "sampling_rate": rate}  # fmt: skip
    write_text(path / "preprocessor_config.json", json.dumps(heard, indent=2) + "\n")
    if labels:
        words = {"<pad>": 0} | {"|" if label == " " else label: 1 + i for i, label in enumerate(labels)}
        write_text(path / "vocab.json", json.dumps(words, indent=2) + "\n")
    _write(path, config, weights)


def export_parts(stem: nn.Module | None, backbone: nn.Module, head: nn.Module | None, path: str | Path) -> None:
    """Writes what lamina trained as a Hugging Face model of frames, and its output layer beside it: head.safetensors,
    weight and bias of logits = W y + b, since their models that tell tokens have no such bias.
    """
    config, weights = converted(stem, backbone)
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    if head is not None:
        write_weights(path / "head.safetensors", {n: t.detach().contiguous() for n, t in head.state_dict().items()})
    _write(path, config, weights)


def _write(path: Path, config: dict[str, Any], weights: dict[str, Tensor], file: str = "model.safetensors") -> None:
    if file.endswith(".bin"):
        part = path / f"{file}.part"
        torch.save(weights, part)
        os.replace(part, path / file)
    else:
        write_weights(path / file, weights, {"format": "pt"})
    write_text(path / "config.json", json.dumps(config, indent=2) + "\n")  # last: with it the folder is whole


def blocks(network: Pretrained) -> list[str]:
    """The paths of its blocks, in order, for `lamina.taps`."""
    family = family_of(network)
    return [family.block(network.source, i) for i in range(network.source[family.depth])]
