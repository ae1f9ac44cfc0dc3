"""create, save and load: a config and safetensors, never a pickle. The card beside them names the paper (1986-2024)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lamina.core.config import SCHEMA, UserError, check_schema, nearest
from lamina.core.cost import cost
from lamina.core.layer import Layer
from lamina.models.registry import MODELS

__all__ = ["create", "find", "load", "save", "write_text", "write_weights"]


def find(name: str) -> Any:
    """The row of a model's or a mixer's name; hyphens count as underscores."""
    row = MODELS.get(name.replace("-", "_"))
    if row is None:
        raise nearest(name, MODELS, "model")
    return row


def create(name: str, **keys: Any) -> nn.Module:
    """A fresh model by name: create("lstm", d_model=64, n_layers=2).

    A mixer's name gives the standard residual stack around it. Sequence models are Layers from frames of width d_in
    to frames of width d_out. Unknown names and keys are errors with the nearest right one.
    """
    network: nn.Module = find(name).make(keys)
    return network


def save(model: nn.Module, folder: str | Path) -> None:
    """Writes config.json, model.safetensors and a short card, each to a temporary name first."""
    if not hasattr(model, "config") or getattr(model, "name", None) not in MODELS:
        raise UserError(f"save: this {type(model).__name__} was not made by lamina.create, so it has no config to save")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {"schema": SCHEMA, "model": model.name, "config": model.config.model_dump(mode="json")}  # type: ignore[union-attr, operator]
    weights = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    write_weights(folder / "model.safetensors", weights)
    write_text(folder / "README.md", _card(model))
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")  # last: with it the folder is whole


def load(folder: str | Path) -> nn.Module:
    """The model that `save` wrote, with its weights."""
    folder = Path(folder)
    path, weights = folder / "config.json", folder / "model.safetensors"
    for needed in (path, weights):
        if not needed.is_file():
            raise UserError(f"{needed}: no such file; give a folder that lamina.save wrote")
    try:
        content = json.loads(path.read_text())
        check_schema(content.get("schema"), str(path))
        model = create(content["model"], **content["config"])
        model.load_state_dict(load_file(weights))
    except (json.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
        raise UserError(
            f"{path}: not a lamina config ({type(error).__name__}: {error}); save the model again"
        ) from None
    except (SafetensorError, RuntimeError) as error:
        first = str(error).splitlines()[-1].strip()
        raise UserError(f"{weights}: the weights do not fit config.json ({first}); save the model again") from None
    return model


def _card(model: nn.Module) -> str:
    row = MODELS[str(model.name)]
    size = f"{sum(p.numel() for p in model.parameters()):,} weights"  # the frozen too
    if isinstance(model, Layer) and row.streams(model)[0]:
        size += f", {cost(model).state_bytes:,} bytes of state a stream"
    return (
        f"# {row.name}\n\n{row.paper}, {row.year}. {row.idea}\n\n{size}.\n\n"
        f"    import lamina\n    model = lamina.load(FOLDER)\n"
    )


def write_weights(path: Path, weights: dict[str, Tensor], about: dict[str, str] | None = None) -> None:
    """Tensors as safetensors, whole or not at all, for whoever may read a new file; about: what its header says."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    part.touch()
    mode = part.stat().st_mode  # as the umask has it; safetensors' own files are for their owner alone
    save_file(weights, part, about)
    part.chmod(mode)
    os.replace(part, path)


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    os.replace(part, path)
