"""Start: the stem and the structure of a finished run, or of others' folder, to train on from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from safetensors.torch import load_file
from torch import Tensor, nn

from lamina import models
from lamina.core.config import Config, UserError
from lamina.data.vocabulary import Vocabulary
from lamina.interop import Pretrained
from lamina.interop import load as load_folder
from lamina.interop.files import read_config
from lamina.tasks import Task

__all__ = ["AROUND", "Start"]

AROUND = "task.safetensors"  # of a run: what stands around the backbone


@dataclass(frozen=True)
class Start:
    """What was learned before: a structure with its keys, its weights, and the words that it reads."""

    folder: Path
    model: str
    keys: dict[str, Any]
    vocabulary: Vocabulary
    weights: dict[str, Tensor]  # "stem.<weight>" and "backbone.<weight>"

    @classmethod
    def read(cls, folder: str | Path) -> Start:
        """From a run that was trained on words, or a BERT in the Hugging Face layout with its tokenizer."""
        folder = Path(folder)
        if "schema" in read_config(folder):
            backbone = models.load(folder)
            if not (folder / AROUND).is_file():
                raise UserError(f"{folder}: holds no {AROUND}; give the folder that `lamina train` wrote")
            stem = {name: t for name, t in load_file(folder / AROUND).items() if name.startswith("stem.")}
        else:
            pretrained = load_folder(folder)
            assert isinstance(pretrained, Pretrained)
            (_, first), (_, body), *_ = pretrained.children_in_order()
            backbone = cast(nn.Module, body)
            stem = {f"stem.{name}": t for name, t in first.state_dict().items()}
        if "stem.segments.weight" not in stem:
            raise UserError(f"{folder}: its {backbone.name} was not trained on words; give one of mlm or a BERT")
        config = cast(Config, backbone.config)
        body_weights = {f"backbone.{name}": t for name, t in backbone.state_dict().items()}
        keys = config.model_dump(mode="json")
        return cls(folder, str(backbone.name), keys, Vocabulary.read(folder), stem | body_weights)

    def agreed(self, model: str, keys: dict[str, Any]) -> dict[str, Any]:
        """Its keys, which are those of the new run; UserError where another model or other keys are asked for."""
        if model != self.model:
            raise UserError(f"{self.folder}: holds a {self.model}, not a {model}; train that")
        for key, value in keys.items():
            if self.keys.get(key) != value:
                raise UserError(f"{key}={value}: {self.folder} has {key}={self.keys.get(key)}; leave it out")
        return self.keys

    def put(self, task: Task) -> None:
        """Its weights into a task of the same structure and words; the head stays as it is."""
        mine = task.state_dict()
        for name, tensor in self.weights.items():
            if name not in mine or mine[name].shape != tensor.shape:
                has = list(mine[name].shape) if name in mine else "no such weight"
                raise UserError(f"{self.folder}: {name} has shape {list(tensor.shape)}, the new task {has}")
        task.load_state_dict(self.weights, strict=False)
