"""What a comparison tells whoever watches it, such as the terminal."""

from __future__ import annotations

from typing import Any

from lamina.compare.plan import Job, Plan
from lamina.tasks import Metric

__all__ = ["Watcher"]


class Watcher:
    """Its methods are called as the comparison goes; this one stays silent. Override what is of interest."""

    def stage(self, text: str) -> None:
        """What is being done now, in a few words."""

    def planned(self, plan: Plan, metric: Metric, jobs_left: int, jobs: int) -> None:
        """The plan is ready; so many trainings of all are left to do. metric: of the scores that follow."""

    def started(self, job: Job) -> None:
        """A training begins."""

    def progress(self, job: Job, step: int, dev: float | None) -> None:
        """A training has come to that step; its last score on the dev part."""

    def finished(self, job: Job, record: dict[str, Any]) -> None:
        """A training has ended, with what its record says."""
