"""The search: the same learning rates for every structure, the best on the dev part, then the seeds."""

from __future__ import annotations

from typing import Any

from lamina.compare.plan import Job, Plan

__all__ = ["chosen_rate", "finals", "grid", "pending"]

Records = dict[Job, dict[str, Any]]


def grid(plan: Plan, model: str) -> list[Job]:
    """The trials that choose the learning rate: each rate with seed 0."""
    return [Job(model, lr, 0) for lr in plan.settings.lr_grid]


def finals(plan: Plan, model: str, lr: float) -> list[Job]:
    """The trials that are scored on the test part: the rate chosen, every seed."""
    return [Job(model, lr, seed) for seed in range(plan.settings.seeds)]


def chosen_rate(records: list[dict[str, Any]], better: str) -> float | None:
    """The learning rate with the best dev score; None where all diverged.

    Of equal scores, which small dev parts often give, the lower rate is taken: it differs less from seed to seed.
    """
    done = [r for r in records if r["status"] == "done"]
    if not done:
        return None
    sign = -1.0 if better == "higher" else 1.0
    return float(min(done, key=lambda r: (sign * r["dev_score"], r["lr"]))["lr"])


def pending(plan: Plan, records: Records, better: str) -> list[Job]:
    """The trials that can run now and have no record yet; those that take longest first."""
    found: list[Job] = []
    for entry in plan.ready:
        jobs = grid(plan, entry.model)
        if all(job in records for job in jobs):
            lr = chosen_rate([records[job] for job in jobs], better)
            jobs = [] if lr is None else finals(plan, entry.model, lr)
        found += [job for job in jobs if job not in records]
    return sorted(found, key=lambda job: -(plan.entry(job.model).step_ms or 0.0))  # stable: the same order every time
