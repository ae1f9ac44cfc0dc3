"""The comparison itself: plan, trainings in worker processes, one look at the test part, measurements, report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from lamina import data as sets
from lamina.compare import feasible, handover, latency, report
from lamina.compare.folder import Folder
from lamina.compare.plan import MOST_PASSES, Entry, Job, Plan, Settings
from lamina.compare.pool import Pool
from lamina.compare.results import Records, results
from lamina.compare.search import chosen_rate, finals, grid, pending
from lamina.compare.structure import structure
from lamina.compare.trial import POINTS
from lamina.compare.watch import Watcher
from lamina.core.config import UserError
from lamina.data import DataSet
from lamina.data.batch import in_order
from lamina.tasks import TASKS, Metric, Task
from lamina.train import evaluate
from lamina.train.machine import cores

__all__ = ["compare", "steps_that_fit"]

MOST_WORKERS = 8
SHARE = 0.85  # of the minutes is planned; the rest is for a machine that slows down
LEAST_STEPS = 20
AFTER = (4.0, 3.0)  # seconds behind the trainings: the report, and each structure's latency


def compare(
    settings: Settings,
    out: str | Path,
    *,
    fresh: bool = False,
    watch: Watcher | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """Runs or resumes a comparison in the folder `out` and gives what results.json then says.

    Finished trainings found there are kept; fresh removes them first. workers: processes of one thread each, default
    one a processor, at most eight; their number changes no score. Raises UserError for bad input.
    """
    began = perf_counter()
    watch = watch or Watcher()
    folder = Folder(out)
    watch.stage(f"reading {settings.data}")
    dataset = sets.load(settings.data)
    for name in settings.models:
        structure(name)  # before the folder is made
    with folder.claimed(fresh=fresh):
        run = _Run(settings, dataset, folder, watch, min(workers or cores(), MOST_WORKERS))
        try:
            return run.whole(began)
        finally:
            run.handed.unlink(missing_ok=True)


def steps_that_fit(
    seconds: float, costs: list[dict[str, float]], trials_each: int, workers: int, most: int | None
) -> int:
    """The number of steps with which all trainings take `seconds` on so many workers; 0 where not even 20 fit.

    costs: a structure's seconds of a step and of a score on the dev part. most: steps, None where they never repeat.
    """
    fixed = trials_each * sum(POINTS * c["score"] for c in costs)
    each = trials_each * sum(c["step"] for c in costs)
    # at the end one worker waits for the other's last training
    waiting = max(c["step"] for c in costs) * (workers - 1) / 2
    steps = (seconds * workers - fixed) / (each + waiting)
    steps = steps if most is None else min(steps, most)
    if steps < LEAST_STEPS:
        return 0
    return int(steps) // 10 * 10 if steps < 1000 else int(steps) // 50 * 50


class _Run:
    def __init__(self, settings: Settings, dataset: DataSet, folder: Folder, watch: Watcher, workers: int) -> None:
        self.settings, self.dataset, self.folder, self.watch, self.workers = settings, dataset, folder, watch, workers
        self.trials: dict[Job, dict[str, Any]] = {}
        self.handed = folder.path.resolve() / "data.safetensors"
        self.metric: Metric = TASKS[dataset.task].metric

    def whole(self, began: float) -> dict[str, Any]:
        plan = Plan.found(self.folder, self.settings, self.dataset)
        with Pool(0 if plan is not None and self._complete(plan) else self.workers) as pool:
            if pool.size:
                handover.write(self.dataset, self.handed)
            plan = plan or self._planned(pool, began)
            self._train(pool, plan)
        records = Records(self.trials, self._score(plan), self._measure(plan))
        self.watch.stage("writing the report")
        found = results(plan, self.dataset, self.metric, records, self.workers)
        report.write(found, self.folder.path)
        self.folder.write("results", found)
        return found

    def _planned(self, pool: Pool, began: float) -> Plan:
        self.watch.stage("solving the widths")
        entries, left_out = feasible.entries(self.settings, self.dataset)
        if not any(entry.ready for entry in entries):
            reasons = "; ".join(f"{entry.model}: {entry.reason}" for entry in entries[:3])
            raise UserError(
                f"{self.dataset.name}: no structure can run: {reasons}; choose another --params or --models"
            )
        if self.settings.steps is not None:
            plan = Plan(self.settings, self.settings.steps, entries, False, left_out)
        else:
            self.watch.stage("measuring the time of a training step")
            ready = [entry for entry in entries if entry.ready]
            costs = self._warm_up(pool, ready)
            steps = self._steps([costs[e.model] for e in ready], perf_counter() - began) if ready else LEAST_STEPS
            timed = tuple(
                replace(e, step_ms=round(1e3 * costs[e.model]["step"], 4)) if e.model in costs else e for e in entries
            )
            plan = Plan(self.settings, steps, timed, True, left_out)
        plan.save(self.folder, self.dataset)
        return plan

    def _warm_up(self, pool: Pool, ready: list[Entry]) -> dict[str, dict[str, float]]:
        """Every structure's seconds a step, measured while the other workers are busy too.

        Twice, there and back, and the slower counts: who comes last has the machine to itself.
        """
        jobs = [self._order("warm-up", entry) for entry in [*ready, *reversed(ready)]]
        costs: dict[str, dict[str, float]] = {}

        def done(job: dict[str, Any], found: dict[str, float]) -> None:
            before = costs.get(job["model"], found)
            costs[job["model"]] = {key: max(value, before[key]) for key, value in found.items()}

        pool.work(lambda: jobs.pop(0) if jobs else None, done)
        return costs

    def _steps(self, costs: list[dict[str, float]], spent: float) -> int:
        # networks of the chosen rates meet the test parts, as the dev part was scored in the warm-up
        parts = sum(split.x.numel() for split in (self.dataset.test, *self.dataset.probes.values()))
        scores = self.settings.seeds * sum(c["score"] for c in costs) * parts / self.dataset.dev.x.numel()
        behind = AFTER[0] + AFTER[1] * len(costs) + scores
        seconds = 60 * self.settings.minutes * SHARE - spent - behind
        per_epoch = max(1, len(self.dataset.train) // self.settings.batch_size)
        most = None if self.dataset.examples is not None else MOST_PASSES * per_epoch
        steps = steps_that_fit(seconds, costs, self.settings.trials_each, self.workers, most)
        if not steps:
            each = (
                self.settings.trials_each * LEAST_STEPS * sum(c["step"] + c["score"] / 2 for c in costs) / self.workers
            )
            least = (spent + behind + each) / SHARE / 60
            raise UserError(
                f"--minutes {self.settings.minutes:g} is too short for {len(costs)} structures; "
                f"give at least {least + 0.05:.1f}, fewer --models, or --steps"
            )
        return steps

    def _train(self, pool: Pool, plan: Plan) -> None:
        running: set[Job] = set()
        self._read_trials(plan)
        total = len(plan.ready) * self.settings.trials_each
        self.watch.planned(plan, self.metric, total - len(self.trials), total)

        def next_job() -> dict[str, Any] | None:
            waiting = [job for job in pending(plan, self.trials, self.metric.better) if job not in running]
            if not waiting:
                return None
            job = waiting[0]
            running.add(job)
            self.watch.started(job)
            facts = {"lr": job.lr, "seed": job.seed, "steps": plan.steps, "out": str(self.folder.path.resolve())}
            return {**self._order("trial", plan.entry(job.model)), **facts}

        def done(order: dict[str, Any], record: dict[str, Any]) -> None:
            job = _job(order)
            running.discard(job)
            self.trials[job] = record
            self._forget(plan, job.model)
            self.watch.finished(job, record)

        pool.work(next_job, done, lambda order, word: self.watch.progress(_job(order), word["step"], word["dev"]))

    def _forget(self, plan: Plan, model: str) -> None:
        """Removes the weights of the rates that were not chosen."""
        kept = self._finals(plan, model)
        for job in grid(plan, model) if kept else []:
            if job not in kept:
                self._weights(job).unlink(missing_ok=True)

    def _order(self, kind: str, entry: Entry) -> dict[str, Any]:
        where = {"data": str(self.handed), "batch_size": self.settings.batch_size}
        return {"kind": kind, "model": entry.model, "keys": entry.keys, **where}

    def _read_trials(self, plan: Plan) -> None:
        """The trials that have a record; one whose weights are needed and gone is to be done again."""
        self.trials = {}
        for entry in plan.ready:
            jobs = grid(plan, entry.model)
            jobs += [job for lr in self.settings.lr_grid for job in finals(plan, entry.model, lr) if job not in jobs]
            for job in jobs:
                record = self.folder.read(f"trials/{job.name}")
                if record is not None:
                    self.trials[job] = record
            for job in self._finals(plan, entry.model):
                done = self.trials.get(job, {}).get("status") == "done"
                if done and not self._weights(job).is_file() and self.folder.read(_score_name(job)) is None:
                    del self.trials[job]

    def _complete(self, plan: Plan) -> bool:
        self._read_trials(plan)
        return not pending(plan, self.trials, self.metric.better)

    def _finals(self, plan: Plan, model: str) -> list[Job]:
        """The trials of the chosen rate; none before the grid is done, or where all of it diverged."""
        jobs = grid(plan, model)
        if not all(job in self.trials for job in jobs):
            return []
        lr = chosen_rate([self.trials[job] for job in jobs], self.metric.better)
        return [] if lr is None else finals(plan, model, lr)

    def _score(self, plan: Plan) -> dict[Job, dict[str, Any]]:
        """The one look at the test part: each seed of the chosen rate, after everything has been chosen."""
        found: dict[Job, dict[str, Any]] = {}
        for entry in plan.ready:
            for job in self._finals(plan, entry.model):
                if self.trials[job]["status"] != "done":
                    continue
                record = self.folder.read(_score_name(job))
                if record is None:
                    self.watch.stage(f"scoring {job.model}, seed {job.seed}, on the test part")
                    task = self._trained(entry, job)
                    score, examples = _judged(task, self.dataset)
                    probes = {str(n): evaluate(task, split) for n, split in self.dataset.probes.items()}
                    record = {"score": score, "examples": examples, "probes": probes}
                    self.folder.write(_score_name(job), record)
                found[job] = record
        return found

    def _measure(self, plan: Plan) -> dict[str, dict[str, Any]]:
        """Costs and latency of each structure that has a score; the workers have ended."""
        found: dict[str, dict[str, Any]] = {}
        for entry in plan.ready:
            jobs = self._finals(plan, entry.model)
            if not jobs:
                continue
            record = self.folder.read(f"measured/{entry.model}")
            if record is None:
                self.watch.stage(f"measuring the latency of {entry.model}")
                record = latency.measure(self._task(entry, 0), self.dataset)
                self.folder.write(f"measured/{entry.model}", record)
            found[entry.model] = record
        return found

    def _task(self, entry: Entry, seed: int) -> Task:
        return structure(entry.model).build(entry.keys, self.dataset, seed)

    def _trained(self, entry: Entry, job: Job) -> Task:
        task, path = self._task(entry, job.seed), self._weights(job)
        try:
            task.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            why = str(error).splitlines()[-1].strip()
            raise UserError(f"{path}: cannot be read ({why}); remove it and give the command again") from None
        return task.eval()

    def _weights(self, job: Job) -> Path:
        return self.folder.path / "trials" / f"{job.name}.safetensors"


def _judged(task: Task, dataset: DataSet) -> tuple[float, list[float]]:
    """The metric over the test part, and each example's own."""
    found, count = [], []
    with torch.no_grad():
        for rows in in_order(dataset.test, 512):
            batch = dataset.test.rows(rows)
            sums, n = task.each(task(batch), batch)
            found.append(sums)
            count.append(n)
    sums, n = torch.cat(found).double(), torch.cat(count).double()
    return float(sums.sum() / n.sum()), (sums / n).tolist()


def _job(order: dict[str, Any]) -> Job:
    return Job(order["model"], order["lr"], order["seed"])


def _score_name(job: Job) -> str:
    return f"scores/{job.name}"
