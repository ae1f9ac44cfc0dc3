"""The comparison of generators: features, a plan, every training with its samples scored, the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from torch import Tensor

import lamina
from lamina import data as sets
from lamina.compare.folder import Folder
from lamina.compare.generate import page
from lamina.compare.generate.makers import MAKERS, Maker
from lamina.compare.generate.score import BATCH, COLUMNS, MOST, score
from lamina.compare.generate.settings import Settings
from lamina.compare.report_text import three
from lamina.core.config import UserError
from lamina.data import DataSet
from lamina.data.png import png, tiled
from lamina.train.features import lenet_features
from lamina.train.machine import environment

__all__ = ["compare_generators"]

SHARE = 0.85  # of the minutes is planned; the rest is for a machine that slows down
AFTER = {"digits": 60.0, "mnist": 240.0}  # seconds of everything that is not learning: LeNet, samples, scores
LEAST_STEPS = 20
SHOWN = 64  # samples of a training that the page shows

Stage = Callable[[str, int, int], object]
"""What is being done, and how far it is."""


def compare_generators(
    settings: Settings, out: str | Path, *, fresh: bool = False, stage: Stage = lambda *_: None
) -> dict[str, Any]:
    """Runs or resumes the comparison in the folder `out` and gives what results.json then says.

    Each that learns by steps gets the same seconds: their number follows from the pace that a warm-up measured, and is
    kept with the run. Writes plan.json, trials/NAME-SEED.json, results.json, results.csv and report.html.
    """
    folder = Folder(out)
    dataset = sets.load(settings.data)
    with folder.claimed(fresh=fresh):
        plan = _plan(settings, dataset, folder, stage)
        stage("LeNet, whose features samples are compared by", 0, 0)
        features = lenet_features(dataset)
        trials = []
        for seed in range(settings.seeds):
            for maker in MAKERS.values():
                name = f"trials/{maker.name}-{seed}"
                found = folder.read(name)
                if found is None:
                    found = _trial(maker, plan["makers"][maker.name], seed, dataset, features, stage)
                    folder.write(name, found)
                trials.append(found)
        stage("the report", 0, 0)
        results = _results(settings, dataset, plan, trials)
        folder.write("results", results)
        page.write(results, folder.path)
    return results


def _plan(settings: Settings, dataset: DataSet, folder: Folder, stage: Stage) -> dict[str, Any]:
    """Keys and steps of each generator: those kept in the folder, or new ones."""
    asked = settings.identity(dataset)
    found = folder.read("plan")
    if found is not None:
        for key, mine in asked.items():
            if found["asked"].get(key) != mine:
                theirs = found["asked"].get(key)
                raise UserError(
                    f"{folder.path}: holds another comparison ({key} {theirs}, here {mine}); choose another --out, or "
                    "--fresh to replace it"
                )
        return found
    makers, paces = {}, {}
    for maker in MAKERS.values():
        stage(f"the pace of {maker.name}", 0, 0)
        keys = maker.size(dataset, settings.params)
        paces[maker.name] = maker.pace(dataset, keys)
        makers[maker.name] = {"keys": keys, "steps": 0}
    learners = [name for name, pace in paces.items() if pace]
    seconds = (60 * settings.minutes * SHARE - AFTER[settings.data]) / (settings.seeds * len(learners))
    for name in learners:
        makers[name]["steps"] = steps = int(seconds / paces[name])
        if steps < LEAST_STEPS:
            raise UserError(
                f"--minutes {settings.minutes:g}: leaves {max(0.0, seconds):.0f} s a training, of {len(learners)} "
                f"generators and {settings.seeds} seeds; give more minutes or fewer --seeds"
            )
    plan = {"asked": asked, "seconds": round(seconds, 1), "makers": makers}
    folder.write("plan", plan)
    return plan


def _trial(
    maker: Maker, plan: dict[str, Any], seed: int, dataset: DataSet, features: Callable[[Tensor], Tensor], stage: Stage
) -> dict[str, Any]:
    words = f"{maker.name}, seed {seed}"
    made = maker.learn(dataset, plan["keys"], plan["steps"], seed, lambda done, of: stage(words, done, of))
    stage(f"{words}: samples", 0, 0)
    scores = score(made.sample, features, dataset, seed)
    return {
        "maker": maker.name, "seed": seed, "weights": made.weights, "seconds": round(made.seconds, 2),
        "steps": plan["steps"], "notes": list(made.notes), "scores": scores, "grid": _grid(made.sample(SHOWN, seed)),
    }  # fmt: skip


def _grid(images: Tensor) -> str:
    return png(tiled(images, 8, 0.5))


def _results(
    settings: Settings, dataset: DataSet, plan: dict[str, Any], trials: list[dict[str, Any]]
) -> dict[str, Any]:
    rows = []
    for maker in MAKERS.values():
        mine = [trial for trial in trials if trial["maker"] == maker.name]
        row: dict[str, Any] = {
            "model": maker.name, "family": maker.family, "paper": maker.paper, "year": maker.year, "says": maker.says,
            "weights": mine[0]["weights"], "steps": mine[0]["steps"], "seconds": fmean(t["seconds"] for t in mine),
            "keys": plan["makers"][maker.name]["keys"], "grid": mine[0]["grid"],
        }  # fmt: skip
        for key, _, _ in COLUMNS:
            scores = [trial["scores"][key] for trial in mine]
            row[key], row[f"{key}_seeds"] = fmean(scores), scores
            row[f"{key}_sd"] = stdev(scores) if len(scores) > 1 else None
        rows.append(row)
    rows.sort(key=lambda row: row["frechet"])
    title, best = verdict(rows, settings, plan["seconds"], dataset)
    return {
        "schema": 1, "lamina": lamina.__version__, "name": dataset.name, "command": settings.command(),
        "data": dataset.describe(), "verdict": title, "best": best, "rows": rows,
        "trials": [{k: v for k, v in trial.items() if k != "grid"} for trial in trials],
        "budget": {"params": settings.params, "seconds": plan["seconds"], "seeds": settings.seeds},
        "samples": min(MOST, len(dataset.test)), "timed_at": BATCH, "real": _grid(dataset.test.x[:SHOWN]),
        "env": environment(),
    }  # fmt: skip


def verdict(rows: list[dict[str, Any]], settings: Settings, seconds: float, dataset: DataSet) -> tuple[str, str | None]:
    """The answer in words, and the best where every one of its seeds is ahead of every seed of the next."""
    first, second = rows[:2]
    shown = {row["model"]: three(row["frechet"]) for row in rows}
    clear = settings.seeds > 1 and max(first["frechet_seeds"]) < min(second["frechet_seeds"])
    where = f"At {settings.params:,} weights and {three(seconds)} s of learning each"
    what = f"images of {dataset.name}"
    if clear:
        text = (
            f"{where}, {first['model']} makes the most lifelike {what}: a Frechet distance of {shown[first['model']]}"
        )
        text += f" on LeNet features, against {shown[second['model']]} of {second['model']}."
    elif settings.seeds == 1:
        text = f"{where}, {first['model']} came nearest to {what} (Frechet distance {shown[first['model']]} on LeNet "
        text += f"features, {second['model']} {shown[second['model']]}), but one seed cannot tell generators apart."
    else:
        text = (
            f"{where}, {first['model']} and {second['model']} cannot be told apart by their {what}: Frechet distances "
        )
        text += f"of {shown[first['model']]} and {shown[second['model']]} on LeNet features."
    behind = ", ".join(f"{row['model']} ({shown[row['model']]})" for row in rows[2:])
    text += f" Behind: {behind}." if behind else ""
    return text, first["model"] if clear else None
