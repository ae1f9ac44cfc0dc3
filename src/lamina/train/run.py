"""The folder of one training run: what was asked, the checkpoints on the way, the weights and scores at the end."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file

import lamina
from lamina import data, models
from lamina.core.config import SCHEMA, UserError, check_schema, nearest
from lamina.data import CannotTake, DataSet, Split
from lamina.data.text import unread
from lamina.data.vocabulary import TOKENIZER, Vocabulary
from lamina.models.io import write_weights
from lamina.tasks import Averaged, LanguageModel, Task, divided, make
from lamina.train import checkpoint
from lamina.train.genetic.fit import fit_genetic
from lamina.train.history import History
from lamina.train.loop import evaluate, fit, further, positive
from lamina.train.start import AROUND, Start

__all__ = ["Order", "Run", "evaluate_run", "load_language_model", "load_run", "load_words", "train_run"]

RUN, HISTORY = "run.json", "history.json"
OPTIMS: dict[str, Callable[..., History]] = {"adamw": fit, "genetic": fit_genetic}


@dataclass(frozen=True)
class Order:
    """What is asked for: a model and its keys, those of its task among them (`tasks.divided`), a data set (a name, or a
    file), and how to train.

    taps: of a short convolution behind the stem, 0 for none. start: the folder whose weights are the first ones, with
    the model, the keys and the words of `Start.read`. companions: hidden outputs that answer too in training, so many
    or their paths; None those of the model, 0 for none. ema: the decay of the average of the weights that is scored and
    kept (`Averaged`); None the model's, 0 for none. optim: "adamw", or "genetic" for `fit_genetic`, which takes no
    gradient; lr is then the highest chance of a weight to mutate.
    """

    model: str
    keys: dict[str, Any]
    data: str
    steps: int = 1000
    lr: float = 3e-3
    seed: int = 0
    batch_size: int = 64
    taps: int = 0
    start: str | None = None
    companions: int | list[str] | None = None
    ema: float | None = None
    optim: str = "adamw"

    def build(self, dataset: DataSet) -> Task:
        """The task with its first weights: those of `start`, and others that depend on seed only."""
        row = models.find(self.model)
        keys, own = divided(self.keys, dataset, row)
        known = row.config_of(keys).model_fields
        if row.view == "image":
            keys.setdefault("n_classes", dataset.n_out)
        if row.view in ("image", "pixels") and dataset.kind == "image":
            for key, value in (("d_in", dataset.shape[0]), ("size", _size(dataset, row.name, known))):
                if key in known:
                    keys.setdefault(key, value)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = models.create(self.model, **keys)
            task = make(dataset, row, model, taps=self.taps, companions=self.companions, keys=own)
            ema = row.ema if self.ema is None else self.ema
            task = Averaged(task, ema) if ema else task
        if self.start is not None:
            Start.read(self.start).put(task, dataset.rate, dataset.features)
        return task

    @property
    def training(self) -> dict[str, Any]:
        """What `fit` takes of it."""
        return {"steps": self.steps, "lr": self.lr, "seed": self.seed, "batch_size": self.batch_size}

    def alone(self) -> Order:
        """The same without what only training needs: its task is what is weighed, saved and loaded."""
        return replace(self, start=None, companions=0, ema=0.0)


@dataclass(frozen=True)
class Run:
    """A finished run: its task with the trained weights, its data, and what run.json says."""

    task: Task
    dataset: DataSet
    facts: dict[str, Any]

    def part(self, name: str) -> Split:
        """train, dev or test, or one of the further test parts, as in "snr=5"."""
        held = self.dataset
        parts = {"train": held.train, "dev": held.dev, "test": held.test}
        parts |= {f"{held.probe}={n}": probe for n, probe in held.probes.items()}
        if name not in parts:
            raise UserError(f"unknown part {name!r}; known: {', '.join(parts)}")
        return parts[name]


def train_run(
    order: Order,
    dataset: DataSet,
    out: str | Path,
    *,
    on_step: Callable[[int, float], object] | None = None,
    on_note: Callable[[int, str], object] | None = None,
) -> dict[str, Any]:
    """Trains in the folder `out` and gives what its run.json then says.

    Writes run.json (order, data, status running, done or diverged, result), checkpoints/, and at the end config.json
    and model.safetensors (the backbone, as `lamina.load` reads it), task.safetensors (stem and head), history.json and,
    where the data are words, their tokenizer.json. result["further"] is what the task says of the dev part.
    Companion heads are not kept: they have done their work.
    The same order resumes an unfinished run and returns a finished one; a folder of anything else is a UserError.
    """
    positive(steps=order.steps, lr=order.lr, batch_size=order.batch_size)
    out = Path(out)
    train = _trainer(order)
    task = (order if train is fit else replace(order, companions=0, ema=0.0)).build(dataset)
    asked = _asked(order, dataset)
    found = _claim(out, asked)
    if found is not None and found["status"] != "running":
        return found
    main = int(os.environ.get("RANK", "0")) == 0
    if main and found is None:
        checkpoint.write_json(out / RUN, {**asked, "status": "running", "result": None})
    history = train(
        task,
        dataset,
        **order.training,
        eval_every=max(1, order.steps // 10),
        on_step=on_step,
        out=out,
        **({"on_note": on_note} if train is fit else {}),
    )
    facts = {**asked, "status": "diverged" if history.diverged else "done"}
    facts["result"] = {
        "metric": task.metric.name,
        "dev": history.dev[-1][1] if history.dev else None,
        "loss": history.loss[-1][1] if history.loss and not history.diverged else None,
        "steps": len(history.loss),
        "seconds": round(history.seconds, 3),
        "params": sum(p.numel() for p in order.alone().build(dataset).parameters()),
        "further": {},
    }
    if main:
        _finish(out, order.alone().build(dataset), history, facts, dataset)
    return facts


def _size(dataset: DataSet, name: str, known: dict[str, Any]) -> int | list[int]:
    """The images' side, or height and width where they differ; CannotTake where the model makes squares alone."""
    height, width = dataset.shape[-2:]
    if height == width:
        return width
    if "size" in known and known["size"].annotation is int:
        raise CannotTake(f"{name} makes square images; {dataset.name} has {height}x{width}: pad them, or take ddpm")
    return [height, width]


def _trainer(order: Order) -> Callable[..., History]:
    """What trains by that order; UserError where it cannot."""
    if order.optim not in OPTIMS:
        raise nearest(order.optim, OPTIMS, "optim")
    if order.optim == "genetic" and order.companions:
        raise UserError("companions are further losses for a gradient; leave them out with --optim genetic")
    if order.optim == "genetic" and (order.ema or models.find(order.model).task):
        what = f"ema {order.ema:g} averages" if order.ema else f"{order.model} learns by"
        raise UserError(f"{what} the steps of a gradient; leave out --optim genetic")
    return OPTIMS[order.optim]


def load_run(folder: str | Path, dataset: DataSet | None = None) -> Run:
    """The run that train_run left in a folder, with its weights; UserError where it is none, or is not finished.

    dataset: its data, where they are loaded already.
    """
    folder = Path(folder)
    facts = _finished(folder)
    name = facts["order"]["data"]
    dataset = data.load(name, _words_of(folder)) if dataset is None else dataset
    if dataset.digest != facts["data"]["digest"]:
        raise UserError(f"{folder}: the data {name!r} has changed since this run was trained; train it again")
    return Run(_trained(folder, facts, dataset), dataset, facts)


def load_language_model(folder: str | Path) -> LanguageModel:
    """The language model that train_run left in a folder. The text that it was trained on need not be there."""
    folder = Path(folder)
    facts = _finished(folder)
    found, name = facts["data"], facts["order"]["model"]
    if found["task"] != "lm":
        raise UserError(
            f"{folder}: this {name} was trained on {found['name']}, not to tell the next byte; "
            f"train one with `lamina train {name} text`"
        )
    return cast(LanguageModel, _trained(folder, facts, unread(found["name"], *found["shape"])))


def load_words(folder: str | Path) -> tuple[Task, Vocabulary, dict[str, Any]]:
    """The task of a run that was trained on words, those words, and what run.json says; its data need not be there."""
    folder = Path(folder)
    facts = _finished(folder)
    found, vocabulary = facts["data"], _words_of(folder)
    if vocabulary is None:
        raise UserError(f"{folder}: was trained on {found['name']}, which is no text in words; train one on text")
    n, none = len(vocabulary), Split(torch.empty(0, *found["shape"]), torch.empty(0), torch.empty(0))
    dataset = DataSet(
        found["name"], found["kind"], found["task"], none, none, none, "unread",
        n_classes=found["classes"], n_vocab=n, vocabulary=vocabulary, labels=tuple(found.get("labels", ())),
    )  # fmt: skip
    return _trained(folder, facts, dataset), vocabulary, facts


def _words_of(folder: Path) -> Vocabulary | None:
    """The vocabulary of a run, None where its data are not of words."""
    return Vocabulary.read(folder) if (folder / TOKENIZER).is_file() else None


def _finished(folder: Path) -> dict[str, Any]:
    """What run.json says of a run that is finished."""
    if not (folder / RUN).is_file():
        raise UserError(f"{folder}: holds no {RUN}; give the folder that `lamina train` wrote")
    facts = checkpoint.read_json(folder / RUN)
    check_schema(facts.get("schema"), str(folder / RUN))
    if facts["status"] == "running":
        raise UserError(f"{folder}: the run is not finished; give the same `lamina train` command again to go on")
    return facts


def _trained(folder: Path, facts: dict[str, Any], dataset: DataSet) -> Task:
    """The run's task with its trained weights."""
    task = Order(**facts["order"]).alone().build(dataset)
    task.backbone.load_state_dict(models.load(folder).state_dict())
    around = load_file(folder / AROUND)
    missing = [name for name in task.state_dict() if not name.startswith("backbone.") and name not in around]
    if missing:
        raise UserError(f"{folder / AROUND}: holds no {missing[0]}; train the run again")
    task.load_state_dict(around, strict=False)
    return task.eval()


def evaluate_run(run: Run, part: str) -> dict[str, Any]:
    """The task's metric on one part of the run's data: {"part", "metric", "better", "score", "examples"}, and what
    else the task says of it.
    """
    split, metric = run.part(part), run.task.metric
    score = evaluate(run.task, split)
    found = {"part": part, "metric": metric.name, "better": metric.better, "score": score, "examples": len(split)}
    return found | further(run.task, split)


def _asked(order: Order, dataset: DataSet) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "lamina": lamina.__version__,
        "order": dict(vars(order)),
        "data": dataset.describe(),
    }


def _claim(out: Path, asked: dict[str, Any]) -> dict[str, Any] | None:
    """None for a new folder, run.json's facts where the same order was begun there; UserError for another's folder."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; choose another --out")
    if not (out / RUN).is_file():
        if out.is_dir() and any(not p.name.endswith(".part") for p in out.iterdir()):
            raise UserError(f"{out}: holds other files and no {RUN}; choose another --out")
        return None
    found = checkpoint.read_json(out / RUN)
    check_schema(found.get("schema"), str(out / RUN))
    usual = {f.name: f.default for f in fields(Order)}  # what a run of before such a key was asked for
    heard = {key: asked["data"].get(key) for key in ("features", "scale")}  # equal where the digests are
    for group, other in (("order", usual), ("data", heard)):
        for key, mine in asked[group].items():
            theirs = found.get(group, {}).get(key, other.get(key))
            if theirs != mine:
                raise UserError(
                    f"{out}: holds another run ({key} {theirs}, here {mine}); choose another --out or remove it"
                )
    return found


def _finish(out: Path, task: Task, history: History, facts: dict[str, Any], dataset: DataSet) -> None:
    """Writes what outlasts the checkpoints; run.json last, for it says that the rest is there.

    The weights come from the last checkpoint, which is whole also where the task is in shards.
    """
    newest = checkpoint.latest(out / "checkpoints")
    if newest is None:
        raise UserError(f"{out}: its checkpoints are gone; choose another --out and train again")
    weights = {name: newest[0][f"model.{name}"] for name in task.state_dict()}  # the task's own: no companion heads
    task.load_state_dict(weights)
    with checkpoint.said_plainly(out):
        models.save(task.backbone, out)
        write_weights(out / AROUND, {name: t for name, t in weights.items() if not name.startswith("backbone.")})
        if dataset.vocabulary is not None:
            dataset.vocabulary.save(out)
    if not history.diverged:
        facts["result"]["further"] = further(task.eval(), dataset.dev)
    checkpoint.write_json(out / HISTORY, {"schema": SCHEMA, **history.as_dict()})
    checkpoint.write_json(out / RUN, facts)
