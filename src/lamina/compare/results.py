"""results.json: the rows, curves, trials and words of a comparison, put together from its records."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch

import lamina
from lamina.compare.budget import TOLERANCE
from lamina.compare.plan import Entry, Job, Plan
from lamina.compare.search import chosen_rate, finals, grid
from lamina.compare.structure import structure
from lamina.compare.verdict import Scored, judge
from lamina.data import NOT_ASKED, DataSet
from lamina.tasks import Metric
from lamina.train.machine import environment

__all__ = ["Records", "chance", "results"]

MEASURED = (
    "flops_per_frame", "flops_per_example", "step_ms_p50", "step_ms_p95", "step_ms_p99", "step_of", "state_bytes",
    "latency_frames", "streams", "state_curve",
)  # fmt: skip


@dataclass(frozen=True)
class Records:
    """All that a comparison has found out: by trial, by trial scored on the test part, and by structure measured."""

    trials: dict[Job, dict[str, Any]]
    scores: dict[Job, dict[str, Any]]
    measured: dict[str, dict[str, Any]]


def results(plan: Plan, dataset: DataSet, metric: Metric, records: Records, workers: int) -> dict[str, Any]:
    """The whole document, as JSON-ready data."""
    settings, guess = plan.settings, chance(dataset)
    rows = [_row(plan, entry, records, metric.better) for entry in plan.entries]
    scored = [_scored(plan, row, records) for row in rows if row["status"] == "done"]
    verdict = judge(
        scored,
        name=dataset.title or dataset.name,
        metric=metric.name,
        better=metric.better,
        params=settings.params,
        chance=guess,
    )
    return {
        "schema": 1,
        "lamina": lamina.__version__,
        "name": dataset.name,
        "command": settings.command(plan.steps),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "metric": metric.name,
        "better": metric.better,
        "chance": guess,
        "probe": dataset.probe if dataset.probes else None,
        "data": dataset.describe(),
        "budget": {
            "params": settings.params,
            "tolerance": TOLERANCE,
            "steps": plan.steps,
            "lr_grid": list(settings.lr_grid),
            "seeds": list(range(settings.seeds)),
            "batch_size": settings.batch_size,
            "minutes": settings.minutes if plan.measured else None,
        },
        "env": {**environment(), "threads": 1, "workers": workers},
        "rows": rows,
        "curves": {row["model"]: _curves(plan, row, records) for row in rows if row["status"] in ("done", "diverged")},
        "trials": [
            {k: record[k] for k in ("model", "lr", "seed", "dev_score", "status", "seconds")}
            for record in _in_order(plan, records)
        ],
        "verdict": verdict.text,
        "best": verdict.best,
        "rule": verdict.rule,
        "left_out": list(plan.left_out),
    }


def chance(dataset: DataSet) -> float:
    """The test score of the best constant answer: the training part's most frequent class, word or span, its mean
    target, the frequencies of its bytes, no label at all, or zeros for noise.
    """
    if dataset.task == "adversarial":  # one example covers next to nothing
        return 0.0
    if dataset.task in ("ctc", "denoise"):  # noise, and frames of deviation 1, told as 0
        return 1.0
    train, test = dataset.train.y, dataset.test.y
    if dataset.task == "regress":
        return float(((test - train.mean(0)) ** 2).mean())
    if dataset.task == "span":
        spans, counts = train.unique(dim=0, return_counts=True)
        return float((test == spans[counts.argmax()]).all(1).float().mean())
    if dataset.task in ("mlm", "translate"):  # without the question about the sentences; what begins is not told
        train, test = train[:, 1:], test[:, 1:]
    train, test = (y[y != NOT_ASKED].long() for y in (train, test))
    counts = train.bincount(minlength=dataset.n_out)
    if dataset.task == "lm":
        return float(-torch.log2((counts + 1) / (counts + 1).sum())[test].mean())
    return float((test == counts.argmax()).float().mean())


def _row(plan: Plan, entry: Entry, records: Records, better: str) -> dict[str, Any]:
    model = structure(entry.model).model
    row: dict[str, Any] = {"model": entry.model, "paper": model.paper, "year": model.year, "family": model.family}
    row |= dict.fromkeys(("score", "score_sd", "scores", "probes", "seeds", "lr", "dev_score", "train_s", *MEASURED))
    row |= {"params": entry.params, "view": entry.view, "config": entry.config}
    row["short_conv"] = bool(structure(entry.model).where)
    row |= {"status": entry.status, "reason": entry.reason, "warm_up_step_ms": entry.step_ms}
    row["streams"] = model.streams(model.make({}))[0]
    if not entry.ready:
        return row
    tried = [records.trials[job] for job in grid(plan, entry.model)]
    lr = chosen_rate(tried, better)
    if lr is None:
        rates = ", ".join(f"{record['lr']:g} at step {record['steps']}" for record in tried)
        return {**row, "status": "diverged", "reason": f"the loss was NaN or infinite at every learning rate: {rates}"}
    jobs = finals(plan, entry.model, lr)
    done = [job for job in jobs if records.trials[job]["status"] == "done"]
    lost = [job for job in jobs if job not in done]
    scores = [records.scores[job]["score"] for job in done]
    probes = [records.scores[job].get("probes", {}) for job in done]
    measured = records.measured[entry.model]
    reasons = [measured["reason"]] if measured["reason"] else []
    if lost:
        where = ", ".join(f"seed {job.seed} at step {records.trials[job]['steps']}" for job in lost)
        reasons.append(f"diverged: {where}; the score is of the other seeds")
    return {
        **row,
        **{key: measured[key] for key in MEASURED},
        "status": "done",
        "reason": "; ".join(reasons) or None,
        "lr": lr,
        "dev_score": statistics.fmean(records.trials[job]["dev_score"] for job in done),
        "score": statistics.fmean(scores),
        "score_sd": statistics.stdev(scores) if len(scores) > 1 else None,
        "scores": scores,
        "probes": [[int(n), [found[n] for found in probes]] for n in probes[0]],
        "seeds": [job.seed for job in done],
        "train_s": round(statistics.fmean(records.trials[job]["seconds"] for job in done), 3),
    }


def _scored(plan: Plan, row: dict[str, Any], records: Records) -> Scored:
    each = [records.scores[Job(row["model"], row["lr"], seed)]["examples"] for seed in row["seeds"]]
    mean = tuple(statistics.fmean(values) for values in zip(*each, strict=True))
    return Scored(row["model"], tuple(row["scores"]), mean)


def _curves(plan: Plan, row: dict[str, Any], records: Records) -> list[dict[str, Any]]:
    """Every seed at the rate chosen; where all rates diverged, those trials."""
    jobs = grid(plan, row["model"]) if row["lr"] is None else finals(plan, row["model"], row["lr"])
    return [{key: records.trials[job][key] for key in ("seed", "lr", "loss", "dev")} for job in jobs]


def _in_order(plan: Plan, records: Records) -> list[dict[str, Any]]:
    place = {entry.model: i for i, entry in enumerate(plan.entries)}
    jobs = sorted(records.trials, key=lambda job: (place[job.model], job.seed, job.lr))
    return [records.trials[job] for job in jobs]
