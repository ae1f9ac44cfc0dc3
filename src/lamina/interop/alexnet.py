"""torchvision's `alexnet`: one file with its state dict, and no config.json. Its names and shapes say what it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lamina.core.config import UserError
from lamina.models import create
from lamina.models.alexnet import AlexNet
from lamina.models.io import write_weights

__all__ = ["filled", "is_one", "recognises", "write"]

Shapes = Mapping[str, tuple[int, ...]]
LAYERS = (*(f"features.{i}" for i in (0, 3, 6, 8, 10)), *(f"classifier.{i}" for i in (1, 4, 6)))
NAMES = {f"{layer}.{part}" for layer in LAYERS for part in ("weight", "bias")}


def recognises(shapes: Shapes) -> bool:
    """Whether these are the names of torchvision's alexnet, and its first filters."""
    return set(shapes) == NAMES and shapes["features.0.weight"][1:] == (3, 11, 11)


def filled(weights: dict[str, Tensor], path: Path) -> nn.Module:
    """create("alexnet", variant="one_tower", ...) with these weights, in evaluation mode. Our names are theirs."""
    sizes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    keys: dict[str, Any] = {
        "width": sizes["features.0.weight"][0] // 2,
        "d_ff": sizes["classifier.1.weight"][0],
        "n_classes": sizes["classifier.6.weight"][0],
    }
    network = create("alexnet", variant="one_tower", image=224, **keys)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise UserError(f"{path}: the weights are not those of torchvision's alexnet ({first})") from None
    return network.eval()


def is_one(network: nn.Module) -> bool:
    """Whether torchvision's alexnet has the same layers, so that it can read these weights."""
    return isinstance(network, AlexNet) and set(network.state_dict()) == NAMES and network.image_shape[1] == 224


def write(network: nn.Module, path: Path) -> None:
    """The state dict as torchvision reads it, in one file."""
    if path.suffix != ".safetensors":
        raise UserError(f"{path}: an alexnet is one file of weights; name it {path.stem}.safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_weights(path, {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()})
