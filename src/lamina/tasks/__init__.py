"""Tasks: what is put around a backbone, the same for every structure, and how its answers are scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from lamina.core import Layer, NotStreamable, UserError
from lamina.core.config import nearest
from lamina.data import CannotTake, DataSet, view
from lamina.data.view import Entry
from lamina.models.wav2vec2 import Wav2Vec2
from lamina.tasks.adversarial import Adversarial
from lamina.tasks.answer import Answer
from lamina.tasks.average import Averaged
from lamina.tasks.classify import Classify
from lamina.tasks.companion import DeeplySupervised, companion_paths
from lamina.tasks.contrastive import Contrastive
from lamina.tasks.contrastive_frames import ContrastiveFrames
from lamina.tasks.ctc import Ctc, fits
from lamina.tasks.denoise import Denoise
from lamina.tasks.generate import Writer
from lamina.tasks.lm import LanguageModel
from lamina.tasks.mlm import MaskedLM
from lamina.tasks.regress import Regress
from lamina.tasks.search import Teller, search
from lamina.tasks.span import Span
from lamina.tasks.task import Batch, Metric, Task
from lamina.tasks.translate import Translate

__all__ = [
    "TASKS", "Adversarial", "Answer", "Averaged", "Batch", "Classify", "Contrastive", "ContrastiveFrames", "Ctc",
    "DeeplySupervised", "Denoise", "LanguageModel", "MaskedLM", "Metric", "Regress", "Span", "Task", "Teller",
    "Translate", "Writer", "divided", "make", "search",
]  # fmt: skip

TASKS: dict[str, type[Task]] = {
    "classify": Classify, "regress": Regress, "answer": Answer, "lm": LanguageModel, "mlm": MaskedLM,
    "span": Span, "translate": Translate, "ctc": Ctc, "denoise": Denoise, "adversarial": Adversarial,
    "contrastive": Contrastive, "contrastive_frames": ContrastiveFrames,
}  # fmt: skip


def make(
    dataset: DataSet, entry: Entry, model: nn.Module, *, taps: int = 0, companions: int | Sequence[str] | None = None,
    keys: dict[str, Any] | None = None,
) -> Task:  # fmt: skip
    """The data set's task around a model: stem, backbone, pooling and head, or an image model with its own head.

    entry is the model's row of MODELS, or anything with a name and a view, perhaps a task. taps: of a short convolution
    behind the stem of structures that see frames in time. companions: hidden outputs that answer too while it learns
    (`DeeplySupervised`): so many, evenly spaced, or their paths in the model; None those that the model declares. keys:
    of the task itself, where it has any (`divided`). The weights of the stem, the head and last the companions are
    drawn from the global generator. Raises CannotTake where the structure cannot take the data.
    """
    seen = view(dataset, entry, model)
    if entry.view == "image" and model.d_out != dataset.n_out:
        raise CannotTake(
            f"{entry.name} gives {model.d_out} outputs, {dataset.name} needs {dataset.n_out}; "
            f"create it with n_classes={dataset.n_out}"
        )
    if dataset.kind == "tokens" and dataset.task != "classify" and isinstance(model, Layer):
        _keeps_time(dataset, model)
    asked = _asked(dataset, entry)
    if asked == "ctc":
        if entry.view not in ("sequence", "waveform") or not isinstance(model, Layer):
            raise CannotTake(f"gives one answer an example; {dataset.name} asks for a row of labels")
        fits(dataset, model)
    if asked == "contrastive" and not isinstance(model, Wav2Vec2):
        raise CannotTake(f"masks no samples; {dataset.name} asks for what is masked")
    if asked == "contrastive_frames":
        if entry.view != "sequence" or not isinstance(model, Layer):
            raise CannotTake(f"gives one answer an example; {dataset.name} asks for what is masked")
        _keeps_time(dataset, model)
    if dataset.task in ("denoise", "adversarial"):
        if entry.view != "sequence" or not isinstance(model, Layer):
            what = "the noise in each frame" if dataset.task == "denoise" else "all frames of new ones"
            raise CannotTake(f"gives one answer an example; {dataset.name} asks for {what}")
        _keeps_time(dataset, model)
    if taps and entry.view != "sequence":
        raise CannotTake("a short convolution needs frames in time")
    own_head = entry.view in ("image", "pixels")
    kind = TASKS[asked]
    own = {} if kind.keys_of is None else {"keys": kind.keys_of.of(keys or {}, asked)}
    task = kind(seen, model, dataset.n_out, own_head=own_head, taps=taps, **own)
    task.meet(dataset)
    paths = companion_paths(model, companions)
    if paths and asked in ("denoise", "adversarial"):
        what = "tell noise" if asked == "denoise" else "play"
        raise UserError(f"companions: hidden outputs cannot {what}; leave them out")
    return DeeplySupervised(task, paths) if paths else task


def divided(keys: dict[str, Any], dataset: DataSet, entry: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keys as they are written together, as the model's and the task's; UserError for one that neither has."""
    kind = TASKS[_asked(dataset, entry)].keys_of
    own = {} if kind is None else {key: value for key, value in keys.items() if key in kind.model_fields}
    rest = {key: value for key, value in keys.items() if key not in own}
    known = entry.config_of(rest).model_fields
    for key in rest:
        if key not in known:
            raise UserError(f"{entry.name}: {nearest(key, [*known, *(kind.model_fields if kind else ())], 'key')}")
    return rest, own


def _asked(dataset: DataSet, entry: Entry) -> str:
    """The name of the task: the model's own, or the data set's."""
    if dataset.task == "contrastive" and dataset.kind == "audio":
        return "contrastive_frames"
    return getattr(entry, "task", None) or dataset.task


def _keeps_time(dataset: DataSet, model: Layer) -> None:
    """Tokens are answered frame by frame; and who tells the next byte may not have seen it."""
    if model.frames(64) != 64:
        raise CannotTake(f"{dataset.name} asks at each frame, but it gives {model.frames(64)} frames for 64")
    if dataset.task != "lm":
        return
    try:
        latency = model.stream_spec().latency
    except NotStreamable as reason:
        raise CannotTake(f"{dataset.name} is told byte by byte, but it does not stream: {reason}") from None
    if latency != 1:
        raise CannotTake(f"looks {latency - 1} frames ahead, where the byte stands that {dataset.name} asks for")
