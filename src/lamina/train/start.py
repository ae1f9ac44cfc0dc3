"""Start: the stem and the structure of a finished run, or of others' folder, to train on from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from safetensors.torch import load_file
from torch import Tensor, nn

from lamina import models
from lamina.core.config import Config, UserError
from lamina.data.features import Features
from lamina.data.vocabulary import Vocabulary
from lamina.interop import Pretrained
from lamina.interop import load as load_folder
from lamina.interop.files import read_config
from lamina.models.wav2vec2 import Wav2Vec2
from lamina.tasks import Ctc, Task
from lamina.train.checkpoint import read_json

__all__ = ["AROUND", "Start", "hold"]

FREE = ("dropout", "mask", "span", "mask_channels")  # keys that no weight depends on
HEARING = ("wav2vec2", "wav2vec2-conformer")  # others' model_type of what hears samples
STILL = 0.25  # of fine-tuning
AROUND = "task.safetensors"  # of a run: what stands around the backbone


@dataclass(frozen=True)
class Start:
    """What was learned before: a structure with its keys, its weights, and the words that it reads."""

    folder: Path
    model: str
    keys: dict[str, Any]
    vocabulary: Vocabulary | None  # None where it hears sounds
    weights: dict[str, Tensor]  # "stem.<weight>" and "backbone.<weight>"
    rate: int | None = None  # of those sounds, where it is known
    features: dict[str, Any] | None = None  # of `Features`, where it hears frames

    @classmethod
    def read(cls, folder: str | Path) -> Start:
        """From a run that was trained on words, or a BERT in the Hugging Face layout with its tokenizer; from a run of
        sounds, or a wav2vec2's folder.
        """
        features = None
        folder = Path(folder)
        if "schema" in read_config(folder):
            backbone = models.load(folder)
            if not (folder / AROUND).is_file():
                raise UserError(f"{folder}: holds no {AROUND}; give the folder that `lamina train` wrote")
            stem = {name: t for name, t in load_file(folder / AROUND).items() if name.startswith("stem.")}
            data = read_json(folder / "run.json").get("data", {})
            features = data.get("features")
            rate = data.get("rate", features and features["rate"])
        else:
            found = _processor(folder)
            rate = found.get("sampling_rate")
            # samples come as they are; their processor, too, levels them unless its file says otherwise
            level = {"level": bool(found.get("do_normalize", True))}
            options = level if read_config(folder).get("model_type") in HEARING else {}
            pretrained = load_folder(folder, **options)
            assert isinstance(pretrained, Pretrained)
            (_, first), (_, body), *_ = pretrained.children_in_order()
            backbone = cast(nn.Module, body)
            stem = {f"stem.{name}": t for name, t in first.state_dict().items()}
        hears = backbone.name == "wav2vec2" or features is not None
        if not hears and "stem.segments.weight" not in stem:
            raise UserError(
                f"{folder}: its {backbone.name} was trained neither on words nor on sounds; give a run of `lamina "
                "pretrain` or of mlm, a BERT or a wav2vec2"
            )
        config = cast(Config, backbone.config)
        body_weights = {f"backbone.{name}": t for name, t in backbone.state_dict().items()}
        keys = config.model_dump(mode="json")
        words = None if hears else Vocabulary.read(folder)
        return cls(folder, str(backbone.name), keys, words, stem | body_weights, rate, features)

    def agreed(self, model: str, keys: dict[str, Any]) -> dict[str, Any]:
        """Its keys, which are those of the new run, with those of the new task, which are checked with it
        (`tasks.divided`); UserError where another model or other keys of it are asked for.
        """
        if model != self.model:
            raise UserError(f"{self.folder}: holds a {self.model}, not a {model}; train that")
        for key, value in keys.items():
            if key in self.keys and self.keys[key] != value and key not in FREE:
                raise UserError(f"{key}={value}: {self.folder} has {key}={self.keys[key]}; leave it out")
        return self.keys | keys

    def put(self, task: Task, rate: int | None = None, features: Features | None = None) -> None:
        """Its weights into a task of the same structure and words, on sounds of that rate, heard as those features; the
        head stays as it is.

        What hears samples is held still (`hold`).
        """
        if rate != self.rate and None not in (rate, self.rate):
            raise UserError(f"{self.folder}: was trained at {self.rate} Hz, not {rate}; pretrain at that rate")
        if self.features is not None and features is not None and self.features != asdict(features):
            other = {key: value for key, value in asdict(features).items() if self.features[key] != value}
            said = ", ".join(f"{key}={value}" for key, value in other.items())
            raise UserError(f"{self.folder}: heard other features, not those with {said}; leave that out")
        mine = task.state_dict()
        for name, tensor in self.weights.items():
            if name not in mine or mine[name].shape != tensor.shape:
                has = list(mine[name].shape) if name in mine else "no such weight"
                raise UserError(f"{self.folder}: {name} has shape {list(tensor.shape)}, the new task {has}")
        task.load_state_dict(self.weights, strict=False)
        hold(task)


def hold(task: Task) -> None:
    """In fine-tuning, convolutions over samples stay as they were pretrained for the first quarter of the steps.

    The paper never trains them again (Baevski et al. 2020, section 4.3); after little pretraining they have more to
    learn.
    """
    if isinstance(task, Ctc) and isinstance(task.backbone, Wav2Vec2):
        task.still = STILL
        for p in task.backbone.get_submodule("0").parameters():
            p.no_weight_decay = True  # type: ignore[attr-defined]


def _processor(folder: Path) -> dict[str, Any]:
    """What others say of the samples that their structure hears."""
    path = folder / "preprocessor_config.json"
    return read_json(path) if path.is_file() else {}
