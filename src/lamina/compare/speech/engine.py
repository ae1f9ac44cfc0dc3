"""The comparison of recognisers: every training with its test part scored, the peer, and the table of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import lamina
from lamina import data as sets
from lamina.compare.budget import solve
from lamina.compare.folder import Folder
from lamina.compare.speech import peer
from lamina.compare.speech.studies import Study
from lamina.core.config import UserError
from lamina.data import DataSet, Split
from lamina.data.digit_strings import judged
from lamina.data.vary import CLEAN
from lamina.tasks import Task
from lamina.train import Order, evaluate, load_run, train_run
from lamina.train.loop import further
from lamina.train.machine import environment

__all__ = ["compare_speech"]

FIRST_LR = 1e-3  # of pretraining
PRETRAINED = ", pretrained"  # behind a structure's name
Stage = Callable[[str, int, int], object]
"""What is being done, how much of it, of how much."""


def compare_speech(
    name: str, study: Study, seeds: int, out: str | Path, *, fresh: bool = False, stage: Stage = lambda *_: None
) -> dict[str, Any]:
    """Runs or resumes a study of that name in the folder `out` and gives what results.json then says.

    Every structure is trained from `seeds` first weights, seed 0 on. trials/MODEL-SEED are run folders, as `lamina
    train` writes them; the test part is looked at once, after the last update.
    """
    folder = Folder(out)
    if study.peer:
        peer.sphinx()  # who has not got it knows before all trainings
    dataset = sets.load(study.data)
    with folder.claimed(fresh=fresh):
        _same(folder, {"study": name, **asdict(study), "digest": dataset.digest})
        unlabelled = cache(partial(sets.load, study.unlabelled))  # read where somebody is yet to learn from it
        rows = []
        for model in study.models:
            for first in (None, unlabelled) if study.unlabelled else (None,):
                trials = [_trial(study, model, seed, dataset, first, folder, stage) for seed in range(seeds)]
                rows.append(_row(trials[0]["model"], trials))
        if study.peer:
            rows.append(_row(peer.NAME, [_peer(dataset, folder, stage)]))
        results = {
            "schema": 1, "lamina": lamina.__version__, "name": name, "says": study.says, "data": dataset.describe(),
            "settings": asdict(study), "seeds": seeds, "rows": rows,
            "columns": next((list(row["scores"]) for row in rows if row["scores"]), []), "env": environment(),
        }  # fmt: skip
        folder.write("results", results)
    return results


def _same(folder: Folder, asked: dict[str, Any]) -> None:
    found = folder.read("plan")
    if found is None:
        folder.write("plan", asked)
        return
    old, new = ({**plan, **plan["models"]} for plan in (found, asked))  # other structures may join later
    for key, mine in new.items():
        if key != "models" and old.get(key, mine) != mine:
            raise UserError(
                f"{folder.path}: holds another comparison ({key} {old.get(key)}, here {mine}); choose another --out, "
                "or --fresh to replace it"
            )
    folder.write("plan", {**found, "models": found["models"] | asked["models"]})


def _trial(
    study: Study, model: str, seed: int, dataset: DataSet, first: Callable[[], DataSet] | None, folder: Folder,
    stage: Stage,
) -> dict[str, Any]:  # fmt: skip
    """One training and its scores: those kept in the folder, or new ones. first: what it is pretrained on."""
    where = f"trials/{model}{'-pretrained' if first else ''}-{seed}"
    found = folder.read(where)
    if found is not None:
        return found
    keys = solve(model, dataset, study.params, study.models[model]).required(model, study.params).keys
    order = Order(model, keys, sets.where(study.data), study.steps, study.lr, seed, study.batch_size)
    before: dict[str, Any] = {}
    if first:
        before = _pretrained(study, order, first, folder, stage)
        order = replace(order, start=before["run"])
    name = f"{model}{PRETRAINED}" if first else model
    words = f"{name}, seed {seed}"
    facts = train_run(order, dataset, folder.path / where, on_step=lambda step, _: stage(words, step, study.steps))
    result = facts["result"]
    found = {"model": name, "seed": seed, "weights": result["params"], "dev": result["dev"], "status": facts["status"],
             "seconds": result["seconds"] + before.get("seconds", 0.0), "machine": _machine(),
             "scores": {}}  # fmt: skip
    if before:
        found["pretraining"] = before["told"]
    if facts["status"] == "done":
        found["scores"] = scores(load_run(folder.path / where, dataset).task, dataset)
    folder.write(where, found)
    return found


def _pretrained(
    study: Study, order: Order, first: Callable[[], DataSet], folder: Folder, stage: Stage
) -> dict[str, Any]:  # fmt: skip
    """The run folder of the same structure after the unlabelled speech, the seconds it took, and what it learned."""
    run = folder.path / f"trials/{order.model}-pretraining-{order.seed}"
    order = replace(order, data=sets.where(study.unlabelled), steps=study.first, lr=FIRST_LR)
    words = f"{order.model}, seed {order.seed}, without texts"
    facts = train_run(order, first(), run, on_step=lambda step, _: stage(words, step, study.first))
    result = facts["result"]
    return {"run": str(run), "seconds": result["seconds"], "told": {"accuracy": result["dev"], **result["further"]}}


def scores(task: Task, dataset: DataSet) -> dict[str, dict[str, Any]]:
    """What each part to judge by came to, by name; rates in percent, with the interval of its utterances where there is
    one: {"CER": {"rate", "low", "high"}}, "CER 5 dB", ... or {"accuracy": {"rate"}}.
    """
    found: dict[str, dict[str, Any]] = {}
    for words, split in parts(dataset).items():
        if dataset.task == "ctc":
            told = further(task, split)
            found |= {f"{kind.upper()}{words}": percent(told[kind]) for kind in ("cer", "wer")}
        else:
            found[f"{task.metric.name}{words}"] = {"rate": 100 * evaluate(task, split)}
    return found


def parts(dataset: DataSet) -> dict[str, Split]:
    """The parts to judge by, by what is added to a column's name: the test part, or its versions in noise."""
    if dataset.probe != "snr":
        return {"": dataset.test}
    return {" clean" if snr >= CLEAN else f" {snr} dB": split for snr, split in dataset.probes.items()}


def percent(errors: dict[str, Any]) -> dict[str, float]:
    """The rate of `speech.score` with its interval, in percent."""
    return {key: 100 * errors[key] for key in ("rate", "low", "high")}


def _peer(dataset: DataSet, folder: Folder, stage: Stage) -> dict[str, Any]:
    """The peer's scores, a record for each noise: those kept in the folder, or new ones."""
    heard: dict[str, dict[str, float]] = {}
    for snr, words in zip(dataset.probes, parts(dataset), strict=True):
        where = f"trials/{peer.NAME}-{snr}"
        found = folder.read(where)
        if found is None:
            stage(f"{peer.NAME} on the same strings{words}", 0, 0)
            found = asdict(peer.digits(judged(0, snr)))
            folder.write(where, found)
        heard |= {f"{kind.upper()}{words}": percent(found[kind]) for kind in ("cer", "wer")}
    return {"model": peer.NAME, "weights": None, "seconds": None, "status": "done", "scores": heard}


def _row(model: str, trials: list[dict[str, Any]]) -> dict[str, Any]:
    """The means and spreads over the seeds of a structure; None where a training diverged."""
    whole = all(trial["status"] == "done" for trial in trials)
    spread: dict[str, Any] = {}
    for column in trials[0]["scores"] if whole else ():
        rates = [trial["scores"][column]["rate"] for trial in trials]
        spread[column] = {
            "mean": fmean(rates), "sd": stdev(rates) if len(rates) > 1 else None, "seeds": rates,
            "intervals": [[t["scores"][column].get("low"), t["scores"][column].get("high")] for t in trials],
        }  # fmt: skip
    seconds = [trial["seconds"] for trial in trials if trial["seconds"] is not None]
    return {
        "model": model, "weights": trials[0]["weights"], "minutes": fmean(seconds) / 60 if seconds else None,
        "machine": trials[0].get("machine"), "status": "done" if whole else "diverged", "scores": spread,
    }  # fmt: skip


def _machine() -> str:
    """Where a training ran; a comparison may be gone on with on another machine, and minutes are a machine's own."""
    here = environment()
    return str(here.get("gpu") or here["cpu"])
