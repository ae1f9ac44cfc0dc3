"""What several claims do alike: a network trained at each learning rate, the best one chosen on the dev part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lamina.core.cost import params
from lamina.data import DataSet, Split
from lamina.reproduce.claim import Tell
from lamina.tasks import Task
from lamina.train import History, Order, evaluate, fit

__all__ = ["Learned", "learn"]


@dataclass(frozen=True)
class Learned:
    """A trained network: the task around it, the rate that was chosen, and its course."""

    task: Task
    lr: float
    history: History

    def score(self, part: Split, scale: float = 1.0) -> float | None:
        """The task's metric on a part, times scale; None where training diverged."""
        return None if self.history.diverged else scale * evaluate(self.task, part)

    def facts(self) -> dict[str, Any]:
        """For a record: the rate, the weights, the seconds and the dev part's curve [[step, score], ...]."""
        return {
            "lr": self.lr,
            "weights": params(self.task),
            "seconds": self.history.seconds,
            "curve": [[step, score] for step, score in self.history.dev],
        }


def learn(
    order: Order, rates: Sequence[float], dataset: DataSet, folder: Path, tell: Tell, *, scored: int = 12
) -> Learned:
    """The order's network trained at each of the rates from the same first weights; the best of them on the dev part.

    folder: for the checkpoints; its name is what `tell` is told. The dev part is scored `scored` times on the way.
    """
    found = []
    for lr in rates:
        one = replace(order, lr=lr)
        task, what = one.build(dataset), f"{folder.name} at learning rate {lr:g}"
        history = fit(
            task,
            dataset,
            steps=one.steps,
            lr=lr,
            seed=one.seed,
            batch_size=one.batch_size,
            out=folder / f"{lr:g}",
            eval_every=max(1, one.steps // scored),
            on_step=lambda step, _, what=what: tell(what, step, order.steps),  # type: ignore[misc]
        )
        found.append(Learned(task, lr, history))
    whole = [one for one in found if not one.history.diverged]
    sign = 1 if found[0].task.metric.better == "higher" else -1
    return max(whole, key=lambda one: sign * one.history.dev[-1][1]) if whole else found[0]
