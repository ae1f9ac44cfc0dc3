"""One trial: a structure trained at one learning rate from one seed, and the record of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import torch

from lamina.compare.plan import Job
from lamina.compare.structure import structure
from lamina.core.config import SCHEMA
from lamina.data import DataSet, Split
from lamina.data.batch import in_order
from lamina.models.io import write_weights
from lamina.tasks import Task
from lamina.train import checkpoint, evaluate, fit

__all__ = ["POINTS", "run_trial", "step_seconds"]

POINTS = 10  # scores on the dev part during a training
CURVE = 100  # points of a loss curve that are kept
WARM_UP = (3, 25, 1.0)  # steps left out, then steps or seconds, whichever ends first
Report = Callable[[int, float, float | None], object]


def run_trial(
    job: Job, keys: dict[str, Any], dataset: DataSet, steps: int, batch_size: int, out: Path, report: Report
) -> dict[str, Any]:
    """Trains and writes trials/NAME.safetensors, then trials/NAME.json; gives what the latter says.

    report(step, loss, dev score so far) is called after each step. The test part is not looked at.
    """
    task = structure(job.model).build(keys, dataset, job.seed)
    dev: list[tuple[int, float]] = []
    every = max(1, steps // POINTS)

    def on_step(step: int, loss: float) -> None:
        if step % every == 0 and step < steps and math.isfinite(loss):
            dev.append((step, evaluate(task, dataset.dev)))
        report(step, loss, dev[-1][1] if dev else None)

    history = fit(task, dataset, steps=steps, lr=job.lr, seed=job.seed, batch_size=batch_size, on_step=on_step)
    dev += history.dev
    ended = (math.nan, math.nan) if history.diverged else (dev[-1][1], mean_loss(task, dataset.dev))
    # the last update may have ruined the weights without another loss to show it
    diverged = not all(math.isfinite(value) for value in ended)
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "model": job.model,
        "lr": job.lr,
        "seed": job.seed,
        "status": "diverged" if diverged else "done",
        "steps": len(history.loss),
        "dev_score": None if diverged else ended[0],
        "dev_loss": None if diverged else ended[1],
        "seconds": round(history.seconds, 3),
        "loss": _thinned(history.loss),
        "dev": dev,
    }
    record = cast("dict[str, Any]", _finite(record))
    path = out / "trials" / f"{job.name}.safetensors"
    part = path.with_name(f"{path.name}.part")
    if record["status"] == "done":
        with checkpoint.said_plainly(path, part):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_weights(path, {name: t.detach().clone().contiguous() for name, t in task.state_dict().items()})
    checkpoint.write_json(path.with_suffix(".json"), record)
    return record


def step_seconds(model: str, keys: dict[str, Any], dataset: DataSet, batch_size: int) -> dict[str, float]:
    """Warm-up: {"step": seconds of a training step, "score": seconds to score the dev part}."""
    skip, least, most = WARM_UP
    task = structure(model).build(keys, dataset)
    at: list[float] = []

    def on_step(step: int, loss: float) -> bool:
        if step >= skip:  # the first steps load and allocate what the others find ready
            at.append(perf_counter())
        return len(at) > least or (len(at) > 2 and at[-1] - at[0] > most)

    fit(task, dataset, steps=1000, lr=1e-3, seed=0, batch_size=batch_size, on_step=on_step)
    began = perf_counter()
    evaluate(task, dataset.dev)
    return {"step": (at[-1] - at[0]) / (len(at) - 1), "score": perf_counter() - began}


def mean_loss(task: Task, split: Split, batch_size: int = 512) -> float:
    """The loss over a whole Split a target, without gradients."""
    total = count = 0.0
    with torch.no_grad():
        for rows in in_order(split, batch_size):
            loss, n = task.loss(split.rows(rows))
            total, count = total + float(loss), count + float(n)
    return total / count


def _thinned(curve: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most about CURVE points: (last step, mean) of neighbouring steps."""
    size = max(1, -(-len(curve) // CURVE))
    groups = [curve[at : at + size] for at in range(0, len(curve), size)]
    return [(group[-1][0], statistics.fmean(value for _, value in group)) for group in groups]


def _finite(value: Any) -> Any:
    """JSON has no NaN: None stands for it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value
