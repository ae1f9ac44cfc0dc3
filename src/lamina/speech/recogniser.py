"""Recogniser: what `lamina train` made of transcribed speech, as one streaming layer from samples to labels."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lamina import models
from lamina.core import Layer, NotStreamable, Seq, Serial, UserError
from lamina.core.config import check_schema
from lamina.data import View
from lamina.data.features import Features
from lamina.layers import Linear, Standardise
from lamina.models.io import write_text, write_weights
from lamina.speech.decode import BestPath, Decoder, Label
from lamina.speech.telling import Telling, Transcript
from lamina.speech.units import Units

if TYPE_CHECKING:
    from lamina.tasks import Ctc

__all__ = ["Recogniser"]

RUN, AROUND, BACKBONE = "run.json", "task.safetensors", "model.safetensors"


class Recogniser:
    """Sound to text: samples at `rate` Hz -> frames of `seconds` each -> logits of the blank and of every unit.

    layer: features, their scale, stem, backbone and head as one `Serial`, [B,n,1] samples in -1..1 -> [B,T,n_out]; it
    streams where its backbone does. facts: what run.json says.
    """

    def __init__(self, layer: Layer, rate: int, units: Units, facts: dict[str, Any]) -> None:
        self.layer, self.rate, self.units, self.facts = layer.eval().requires_grad_(False), rate, units, facts
        # asked of lengths, because a layer that does not stream has no spec
        self.seconds = 64 / (layer.frames(128 * rate) - layer.frames(64 * rate))

    @classmethod
    def of_run(cls, folder: str | Path) -> Recogniser:
        """What `lamina train` left in a folder, or `save`; the data that it was trained on need not be there."""
        from lamina.tasks import Ctc  # which scores by this package

        folder = Path(folder)
        facts = _facts(folder)
        data, order = facts["data"], facts["order"]
        if data["task"] != "ctc" or "features" not in data:
            what = "another lamina, which did not keep its features" if data["task"] == "ctc" else data["name"]
            raise UserError(
                f"{folder}: this {order['model']} was trained on {what}, and transcribes no speech; "
                f"train one with `lamina train {order['model']} digit_strings` or your own FILE.jsonl"
            )
        features = Features(**data["features"])
        backbone = cast(Layer, models.load(folder))
        view = View("as it is heard", 0, features.width, lambda x, _: Seq.of(x))
        task = Ctc(view, backbone, data["classes"], taps=order["taps"])
        _put(folder / AROUND, task)
        head = Linear(cast(int, backbone.d_out), data["classes"])
        head.linear = task.head  # type: ignore[assignment]
        scale = Standardise(features.width, *data["scale"])
        layer = Serial(features.layer(), scale, cast(Layer, task.stem), backbone, head)
        units = Units.of(data["units"]) if "units" in data else Units(tuple(data["labels"]))
        return cls(layer, features.rate, units, facts)

    def save(self, folder: str | Path) -> None:
        """A bundle: a folder that `of_run` reads, its weights in float16, without what only training needs.

        config.json, model.safetensors, task.safetensors, a card, and run.json, which says that weights were rounded and
        names the data without its place.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        backbone, stem, head = self.parts()
        models.save(backbone, folder)
        write_weights(folder / BACKBONE, _half(backbone.state_dict()))
        around = {f"stem.{k}": t for k, t in stem.state_dict().items()}
        around |= {f"head.{k}": t for k, t in head.linear.state_dict().items()}
        write_weights(folder / AROUND, _half(around))
        order = {**self.facts["order"], "data": self.facts["data"]["name"], "start": None}
        write_text(folder / "README.md", self._card())
        write_text(folder / RUN, json.dumps({**self.facts, "order": order, "weights": "float16"}, indent=1) + "\n")

    def _card(self) -> str:
        """What a bundle says of itself: what it learned from, how well it hears, what to do with it."""
        order, data = self.facts["order"], self.facts["data"]
        told = (self.facts.get("result") or {}).get("further", {})
        kinds = [(kind, of) for kind, of in (("cer", "characters"), ("wer", "words")) if kind in told]
        rates = [f"{100 * told[kind]['rate']:.3g} % of the {of}" for kind, of in kinds]
        wrong = f"Wrong on its dev part: {', '.join(rates)} ({told['normaliser']}). " if rates else ""
        size = sum(p.numel() for p in self.layer.parameters())
        return (
            f"# {order['model']}: speech to text\n\nLearned from {data['name']} ({data['source']}). {wrong}"
            f"{size:,} weights in float16; sound at {self.rate:,} Hz.\n\n"
            "    lamina transcribe FOLDER talk.wav\n    lamina serve FOLDER\n"
        )

    def parts(self) -> tuple[Layer, Layer, Linear]:
        """Backbone, stem and head."""
        *_, stem, backbone, head = (layer for _, layer in cast(Serial, self.layer).children_in_order())
        return backbone, stem, cast(Linear, head)

    @property
    def streams(self) -> str | None:
        """None where it streams, else why not."""
        try:
            self.layer.stream_spec()
        except NotStreamable as reason:
            return str(reason)
        return None

    @property
    def latency(self) -> Fraction:
        """Seconds of sound from the first sample of a frame to the answer for it: what no computer makes shorter."""
        return self.layer.stream_spec().latency / self.rate

    @cached_property
    def digest(self) -> str:
        """A hash of the weights, of what they are and of what they hear: states are resumed by equals alone."""
        data, backbone = self.facts["data"], cast(Any, self.parts()[0])
        settings = [data["features"], data["scale"], backbone.name, backbone.config.model_dump(mode="json")]
        total = hashlib.sha256(json.dumps([*settings, self.units.describe()]).encode())
        for name, tensor in self.layer.state_dict().items():
            total.update(name.encode())
            total.update(tensor.contiguous().numpy())
        return total.hexdigest()[:16]

    @torch.no_grad()
    def log_p(self, sound: Tensor) -> Tensor:
        """log p of each class at each frame of a sound [n], all of it at once: [T,n_out]."""
        return self.layer(Seq.of(sound.float()[None, :, None])).values[0].log_softmax(-1)

    def transcribe(self, sound: Tensor, decoder: Decoder | None = None) -> Transcript:
        """The text of a sound [n] at `rate` Hz, all of it at once."""
        return self.written((decoder or BestPath()).whole(self.log_p(sound)))

    def written(self, labels: list[Label]) -> Transcript:
        """Labels as text."""
        telling = Telling(self.units, self.seconds)
        telling.add(labels)
        return telling.now()


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / RUN
    if not path.is_file():
        raise UserError(f"{folder}: holds no {RUN}; give the folder that `lamina train` wrote")
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); train the run again") from None
    if not isinstance(facts, dict):
        raise UserError(f"{path}: is not what `lamina train` writes; train the run again")
    check_schema(facts.get("schema"), str(path))
    if facts.get("status") == "running":
        raise UserError(f"{folder}: the run is not finished; give the same `lamina train` command again to go on")
    for part, keys in (("data", {"name", "task"}), ("order", {"model", "taps"})):
        if not (isinstance(facts.get(part), dict) and keys <= facts[part].keys()):
            raise UserError(f"{path}: does not say what its {part} was; train the run again")
    return facts


def _put(path: Path, task: Ctc) -> None:
    """The weights around the backbone."""
    try:
        around = load_file(path)
        own = {name for name in task.state_dict() if not name.startswith("backbone.")}
        if own - around.keys():
            raise UserError(f"{path}: holds no {min(own - around.keys())}; train the run again")
        task.load_state_dict(around, strict=False)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(f"{path}: the weights cannot be read ({str(error).splitlines()[-1].strip()}); train the run "
                        "again") from None  # fmt: skip


def _half(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: (t.half() if t.is_floating_point() else t).contiguous() for k, t in weights.items()}
