"""Training without a gradient: a population of networks, whose fitness is the negative loss."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from math import ceil, isfinite
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Generator, Tensor, nn

from lamina import data
from lamina.core.config import UserError
from lamina.data import DataSet
from lamina.tasks import Batch, Task
from lamina.train import checkpoint, optim
from lamina.train.genetic.breed import Genetic
from lamina.train.genetic.evolve import reseeded
from lamina.train.genetic.mutation import gaussian
from lamina.train.genetic.weights import Weights
from lamina.train.history import History
from lamina.train.loop import evaluate, identity_of, positive

__all__ = ["SETTINGS", "fit_genetic"]

SETTINGS = Genetic(64, "tournament:size=3", "uniform", "gaussian", elites=2)
SIGMA = 2.0  # of a mutation, in spreads of a weight: seldom and far learns sooner than often and near


def fit_genetic(
    task: Task,
    dataset: DataSet,
    *,
    steps: int,
    lr: float,
    seed: int,
    batch_size: int,
    out: str | Path | None = None,
    on_step: Callable[[int, float], object] | None = None,
    eval_every: int | None = None,
) -> History:
    """`fit` by a genetic algorithm: a step is a generation of 64 networks, all scored on that step's batch.

    The population starts around the task's own first weights. The best two go on; the others are children of parents
    that won a tournament of three, crossed weight by weight, and each weight mutates with a chance of lr that warms up
    and falls as a learning rate does. A new batch scores everyone anew. The task ends with the weights of the last
    generation's best. Networks are as in evaluation: no dropout. In the history the loss is the best network's.

    out, on_step, eval_every and the errors are those of `fit`; one process only.
    """
    positive(steps=steps, lr=lr, batch_size=batch_size)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("--optim genetic runs in one process; start it without accelerate launch")
    task.eval()
    space, source = Weights(task), data.batches(dataset, batch_size, seed)
    device, generator = next(task.parameters()).device, Generator()
    breeder = SETTINGS.breeder(space)
    settings = {"optim": "genetic", "steps": steps, "lr": lr, "seed": seed, "batch_size": batch_size}
    keeper = None if out is None else _Keeper(Path(out), space, task, identity_of(task, dataset, None, settings))
    history, at, population = History(), 0, space.start(SETTINGS.population, reseeded(generator, seed, 0))
    if keeper is not None and (found := keeper.resume()) is not None:
        history, at, population = found
    while at < steps and not history.diverged:
        began = perf_counter()
        task.done = at / steps
        losses = _losses(space, population, {key: value.to(device) for key, value in source(at).items()})
        scores = torch.where(losses.isfinite(), -losses, -torch.finfo(losses.dtype).max)
        kept, rate = breeder.kept(scores), optim.learning_rate(at, steps, lr)
        now = replace(breeder, mutate=gaussian(SIGMA, min(1.0, rate)))
        children = now.children(population, scores, reseeded(generator, seed, at + 1))
        population = torch.cat([population[kept], children])
        space.put(population[0])
        history.seconds += perf_counter() - began
        at += 1
        loss = float(losses[kept[0]])
        history.loss.append((at, loss))
        history.diverged = not isfinite(loss)
        stop = (on_step is not None and on_step(at, loss) is True) or history.diverged
        last = stop or at == steps
        if not history.diverged and (last or (eval_every and at % eval_every == 0)):
            history.dev.append((at, evaluate(task, dataset.dev)))
        if keeper is not None and (last or at % ceil(steps / 10) == 0):
            keeper.save(at, population, history, ended=last)
        if stop:
            break
    return history


def _losses(space: Weights, population: Tensor, batch: Batch) -> Tensor:
    """The loss of each network on a batch, [P]."""

    def loss(task: nn.Module) -> Tensor:
        total, count = task.loss(batch)  # type: ignore[operator]
        return total / count

    return space.outputs(population, loss).double().cpu()


class _Keeper:
    """The checkpoints of one run: the population, and the best network's weights as `fit` keeps them."""

    def __init__(self, out: Path, space: Weights, task: Task, identity: dict[str, Any]) -> None:
        self.out, self.folder = out, out / "checkpoints"
        self.space, self.task, self.identity = space, task, identity

    def resume(self) -> tuple[History, int, Tensor] | None:
        """The history, the generations done and the population of the newest checkpoint."""
        found = checkpoint.latest(self.folder)
        if found is None:
            return None
        tensors, facts = found
        checkpoint.same_run(self.out, facts["run"], self.identity)
        self.space.scale = tensors["spread"]  # of the first weights, which the task need not have any more
        self.task.load_state_dict({name: tensors[f"model.{name}"] for name in self.task.state_dict()})
        at = self.identity["steps"] if facts["ended"] else facts["step"]
        return History.of(facts["history"]), at, tensors["population"]

    def save(self, step: int, population: Tensor, history: History, *, ended: bool) -> None:
        genes = {"population": population, "spread": self.space.scale}
        weights = {f"model.{name}": tensor for name, tensor in self.task.state_dict().items()}
        facts = {"run": self.identity, "history": history.as_dict(), "ended": ended}
        checkpoint.write(self.folder, step, genes | weights, facts)
