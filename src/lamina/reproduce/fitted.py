"""What claims with tasks of their own making do alike: such a task trained as an order says."""

from __future__ import annotations

from pathlib import Path

from lamina.data import DataSet
from lamina.reproduce.claim import Tell
from lamina.tasks import Task
from lamina.train import History, Order, fit

__all__ = ["fitted"]


def fitted(task: Task, dataset: DataSet, order: Order, folder: Path, tell: Tell, *, scored: int) -> History:
    """Trains a task, its checkpoints in the folder; the dev part is scored `scored` times on the way."""
    return fit(
        task,
        dataset,
        **order.training,
        out=folder,
        eval_every=max(1, order.steps // scored),
        on_step=lambda step, _: tell(f"{folder.name}, {dataset.name}", step, order.steps),
    )
