"""Reading others' checkpoints: config.json and safetensors, in one piece or in shards; nothing is unpickled."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lamina.core.config import UserError

__all__ = ["read_config", "read_weights"]

NESTED = ("state_dict", "model_state_dict", "model_state", "model")  # where training scripts put a state dict


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a folder."""
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a folder with config.json and model.safetensors")
    return _json(path)


def read_weights(path: Path, name: str = "model", old: str = "pytorch_model") -> dict[str, Tensor]:
    """The tensors of a folder (model.safetensors, or the shards of its index; else old's .bin) or of one file."""
    if path.is_file():
        return _one(path)
    whole, index = path / f"{name}.safetensors", path / f"{name}.safetensors.index.json"
    if whole.is_file():
        return _one(whole)
    if index.is_file():
        shards = sorted(set(_json(index).get("weight_map", {}).values()))
        for shard in shards:
            if Path(shard).name != shard:  # an index may not point out of its folder
                raise UserError(f"{index}: names the shard {shard!r}, which is no file beside it")
        return {name: tensor for shard in shards for name, tensor in _one(path / shard).items()}
    others = [p.name for p in path.glob(f"{old}*.bin")]
    if others:
        return {name: tensor for other in sorted(others) for name, tensor in _one(path / other).items()}
    raise UserError(f"{path}: holds no {whole.name}; save the model with safetensors")


def _one(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; the checkpoint is not whole")
    try:
        found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: cannot be read as weights only ({first}); save it as safetensors") from None
    tensors = _tensors(found) or next((t for name in NESTED if (t := _tensors(_under(found, name)))), {})
    if not tensors:
        raise UserError(f"{path}: holds no tensors by name; give a state dict")
    return tensors


def _under(found: object, name: str) -> object:
    return found.get(name) if isinstance(found, dict) else None


def _tensors(found: object) -> dict[str, Tensor]:
    return {name: t for name, t in found.items() if isinstance(t, Tensor)} if isinstance(found, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: is no JSON ({error})") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: is no JSON object")
    return found
