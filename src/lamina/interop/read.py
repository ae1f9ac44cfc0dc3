"""load: a folder or a file of weights becomes the model that it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lamina import models
from lamina.core.config import UserError, nearest
from lamina.interop import alexnet, unet
from lamina.interop.family import NEEDED, Family, Pretrained
from lamina.interop.files import read_config, read_weights
from lamina.interop.hub import local
from lamina.interop.registry import FAMILIES, FILES, REFUSED
from lamina.interop.tokens import separator
from lamina.interop.weights import shapes_of, take

__all__ = ["load"]


def load(path: str | Path, **options: Any) -> nn.Module:
    """A model with its weights, in evaluation mode: from a folder that `save` wrote, from others' config.json and
    model.safetensors (also in shards), whose family its `model_type` tells, or from one file with a state dict, whose
    family its names tell. org/name where no such folder is comes from the Hugging Face Hub (pip install 'lamina[hub]').
    Nothing is unpickled, and no code is fetched.

    The first gives the model that was saved, torchvision's alexnet an `alexnet`, diffusers' UNet2DModel
    a `ddpm`, the others a `Pretrained`: stem,
    backbone and head as one layer. options: what the weights cannot tell, such as n_heads of a state dict
    (docs/interop.md lists them).
    """
    path = local(path)
    if path.is_file():
        return _from_file(path, options)
    config = read_config(path)
    if "schema" in config:
        if options:
            raise UserError(
                f"{path}: lamina.save wrote it, and its config.json says everything; leave out {_all(options)}"
            )
        return models.load(path)
    if unet.recognises(config):
        if options:
            raise UserError(f"{path}: a UNet2DModel takes no options; leave out {_all(options)}")
        return unet.loaded(config, path)
    family = _family(config, path)
    weights = read_weights(path)
    if config.get("sep_token_id") is None and (token := separator(path)) is not None:
        config["sep_token_id"] = token
    return _filled(family, config | _options(family, options, path), weights, path)


def _from_file(path: Path, options: dict[str, Any]) -> nn.Module:
    """What a state dict holds that has no config.json beside it."""
    weights = read_weights(path)
    shapes = shapes_of(weights)
    if alexnet.recognises(shapes):
        return alexnet.filled(weights, path)
    for family in FILES:
        if family.recognises is not None and family.read is not None and family.recognises(shapes):
            given = _options(family, options, path)
            try:
                config = given | family.read(shapes, given)
            except UserError as error:
                raise UserError(f"{path}: {error}") from None
            return _filled(family, config, weights, path)
    raise UserError(
        f"{path}: no config.json says what it is, and its names ({next(iter(shapes))}, ...) are none of those read so: "
        f"{', '.join(family.name for family in FILES)}, alexnet"
    )


def _filled(family: Family, config: dict[str, Any], weights: dict[str, Tensor], path: Path) -> Pretrained:
    """The family's network with their weights in it."""
    shapes = shapes_of(weights)
    try:
        network = family.build(config, shapes)
        network.load_state_dict(take(weights, family.table(config, shapes), family.ignored, network.state_dict()))
    except KeyError as error:
        missing = error.args[0]
        where = path if family.recognises or "." in missing else path / "config.json"  # a name has dots, a key has none
        raise UserError(f"{where}: has no {missing!r}, which a {family.name} needs") from None
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        fit = "each other" if family.recognises else "its config.json"
        raise UserError(f"{path}: the weights do not fit {fit} ({first})") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    network.family, network.source, network.shapes = family.name, config, shapes
    return network.eval()


def _family(config: dict[str, Any], path: Path) -> Family:
    kind = config.get("model_type")
    if not isinstance(kind, str):
        for family in FAMILIES.values():
            if family.marks and all(mark in config for mark in family.marks):
                return family
        raise UserError(f"{path / 'config.json'}: names no model_type; lamina cannot tell what it is")
    if kind in REFUSED:
        raise UserError(f"{path / 'config.json'}: model_type {kind!r} is not built here: {REFUSED[kind]}")
    if kind not in FAMILIES:
        raise UserError(f"{path / 'config.json'}: {nearest(kind, FAMILIES, 'model_type')}")
    return FAMILIES[kind]


def _options(family: Family, given: dict[str, Any], path: Path) -> dict[str, Any]:
    """The family's options with what is given."""
    if given and not family.options:
        raise UserError(f"{path}: a {family.name} checkpoint takes no options; leave out {_all(given)}")
    for name in given:
        if name not in family.options:
            raise UserError(f"{path}: {nearest(name, family.options, 'option')}")
    found = family.options | given
    for name, value in found.items():
        if value is NEEDED:
            raise UserError(f"{path}: a {family.name} checkpoint does not say its {name}; give lamina.load {name}=...")
    return found


def _all(options: dict[str, Any]) -> str:
    return ", ".join(f"{name}=" for name in options)
