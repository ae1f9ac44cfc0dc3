"""The training loop, over Accelerate: one process here, DDP or FSDP through `accelerate launch`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil, isfinite
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import nn

from lamina import data
from lamina.core.config import Config, UserError
from lamina.data import DataSet, Split, shard
from lamina.data.batch import in_order
from lamina.tasks import Batch, Task
from lamina.train import checkpoint, optim
from lamina.train.history import History

__all__ = ["CLIP", "evaluate", "fit", "further", "identity_of", "positive"]

CLIP = 1.0  # the norm that gradients are clipped to
LAUNCHED = ("WORLD_SIZE", "ACCELERATE_MIXED_PRECISION")  # `accelerate launch` sets the second also for one process


def fit(
    task: Task,
    dataset: DataSet,
    *,
    steps: int,
    lr: float,
    seed: int,
    batch_size: int,
    out: str | Path | None = None,
    on_step: Callable[[int, float], object] | None = None,
    on_note: Callable[[int, str], object] | None = None,
    eval_every: int | None = None,
    checkpoint_every: int | None = None,
    batches: Callable[[int], Batch] | None = None,
) -> History:
    """Trains the task in place: AdamW, 5 % linear warm-up then a cosine, gradients clipped to norm 1.

    The order of the data and the dropout depend on seed only; the first weights are the caller's. batch_size is the
    whole batch, of which each process takes its rows: losses divide by the count of targets in all processes, so two
    processes do what one does on the same batch.

    out: a folder for checkpoints (every tenth of the steps or checkpoint_every, and every minute); a run found there
    goes on bit-equal, the run of other settings is a UserError. on_step(step, loss) is called after every step, from
    1; where it returns True training ends there. on_note(step, words): what `Task.watch` says.
    eval_every: the dev part is scored after every so many steps, and always after the last.
    batches: gives the batch of a step (from 0) in place of the data set's own.

    A loss or gradient that is NaN or inf ends the run with diverged=True before it reaches the weights. The task is
    left in evaluation mode. It trains on its own device, under `accelerate launch` where Accelerate places it; one
    process puts it back on its own at the end.
    """
    positive(steps=steps, lr=lr, batch_size=batch_size)
    source = batches or data.batches(dataset, batch_size, seed)
    settings: dict[str, Any] = {
        "steps": steps,
        "lr": lr,
        "seed": seed,
        "batch_size": batch_size,
        "eval_every": eval_every,
    }
    accelerator = _accelerator()
    own, device = next(task.parameters()).device, _device(accelerator, task)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed + 1_000_003 * accelerator.process_index)
        settings["processes"] = accelerator.num_processes
        identity = {} if out is None else identity_of(task, dataset, batches, settings)  # before sharding hides sizes
        run = _Run.prepare(accelerator, task, lr, device)
        keeper = None if out is None else _Keeper(Path(out), run, identity, checkpoint_every or ceil(steps / 10))
        history, at = (History(), 0) if keeper is None else keeper.resume()
        while at < steps and not history.diverged:
            began = perf_counter()
            task.done = at / steps
            loss = run.step(source(at), optim.learning_rate(at, steps, lr))
            history.seconds += perf_counter() - began
            at += 1
            history.loss.append((at, loss.value))
            history.diverged = not loss.usable
            stop = (on_step is not None and on_step(at, loss.value) is True) or history.diverged
            last = stop or at == steps
            if last and not history.diverged:
                task.ended()
            if not history.diverged and (last or (eval_every and at % eval_every == 0)):
                history.dev.append((at, _score(run.model, task, dataset.dev, 512, device)))
                _note(task, history, at, on_note)
            if keeper is not None and (last or keeper.due(at)):
                keeper.save(at, history, ended=last)
            if stop:
                break
    if accelerator.distributed_type == DistributedType.NO:
        task.to(own)
    task.eval()
    return history


def _note(task: Task, history: History, at: int, on_note: Callable[[int, str], object] | None) -> None:
    """Keeps what the task says of its course, and passes it on, unless it has said so before."""
    said = task.watch(history.loss, history.dev)
    if said is not None and said not in (words for _, words in history.notes):
        history.notes.append((at, said))
        if on_note is not None:
            on_note(at, said)


def evaluate(task: Task, split: Split, batch_size: int = 512) -> float:
    """The task's metric over a whole Split, in evaluation mode and without gradients; an accuracy is 0..1."""
    return _score(task, task, split, batch_size, next(task.parameters()).device)


def further(task: Task, split: Split, batch_size: int = 512) -> dict[str, Any]:
    """What else the task says of a whole Split, in evaluation mode and without gradients."""
    return task.further(_told(task, split, batch_size, next(task.parameters()).device))


def _score(model: nn.Module, task: Task, split: Split, batch_size: int, device: torch.device) -> float:
    """model is the task, or what Accelerate made of it. Every process scores all rows, so all get the same number."""
    total = count = 0.0
    for prediction, batch in _told(model, split, batch_size, device):
        found, n = task.judge(prediction, batch)
        total, count = total + float(found), count + float(n)
    return total / count


def _told(
    model: nn.Module, split: Split, batch_size: int, device: torch.device
) -> Iterator[tuple[torch.Tensor, Batch]]:
    """The prediction of every batch of a Split, and the batch."""
    training = model.training
    model.eval()
    for rows in in_order(split, batch_size):
        batch = _to(split.rows(rows), device)
        with torch.no_grad():  # not around the loop: whoever reads has gradients of their own
            prediction = model(batch)
        yield prediction, batch
    model.train(training)


@dataclass(frozen=True)
class _Loss:
    value: float
    usable: bool  # the loss and the gradient are finite


@dataclass(frozen=True)
class _Run:
    """A task made ready by Accelerate, and one step of it."""

    accelerator: Accelerator
    task: Task
    model: nn.Module
    optimizer: torch.optim.Optimizer
    parameters: list[nn.Parameter]
    device: torch.device
    plain: bool  # one process, no gradient scaler: torch's own calls do, and Accelerate's would cost 0.2 ms a step

    @classmethod
    def prepare(cls, accelerator: Accelerator, task: Task, lr: float, device: torch.device) -> _Run:
        task.to(device).train()
        optimizer = optim.adamw(task, lr, task.betas)
        model, wrapped = accelerator.prepare(task, optimizer)
        plain = accelerator.distributed_type == DistributedType.NO and accelerator.scaler is None
        weights = [p for p in model.parameters() if p.requires_grad]
        return cls(accelerator, task, model, optimizer if plain else wrapped, weights, device, plain)

    def step(self, batch: Batch, lr: float) -> _Loss:
        """One update from a whole batch, of which this process takes its rows."""
        world = self.accelerator.num_processes
        batch = _to(shard(batch, self.accelerator.process_index, world), self.device)
        total, count = self.task.criterion(self.model(batch), batch)
        whole, targets = total.detach(), count
        if world > 1:
            both = self.accelerator.reduce(torch.stack([whole, count]), "sum")
            whole, targets = both[0], both[1]
        value = float(whole / targets)
        if not isfinite(value):
            return _Loss(value, False)
        # DDP averages gradients over processes, hence the factor: the sum over all rows / the count in all processes
        self.accelerator.backward(total * (world / targets))
        usable = isfinite(self.clip())
        if usable:
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.optimizer.step()
            self.task.stepped()
        self.optimizer.zero_grad()
        return _Loss(value, usable)

    def clip(self) -> float:
        """Scales the gradients down to norm CLIP at most; gives the norm that they had."""
        if not self.plain:  # only Accelerate knows how to add up the norms of shards
            return float(self.accelerator.clip_grad_norm_(self.parameters, CLIP))
        grads = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads, foreach=True)
        if (found := float(norm)) > CLIP:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, CLIP, norm, foreach=True)
        return found


class _Keeper:
    """The checkpoints of one run in its folder."""

    def __init__(self, out: Path, run: _Run, identity: dict[str, Any], every: int) -> None:
        self.out, self.folder, self.run, self.identity = out, out / "checkpoints", run, identity
        self.every, self.saved = every, perf_counter()

    def due(self, step: int) -> bool:
        """Every so many steps, and every minute in one process: clocks differ, and several must save together."""
        return step % self.every == 0 or (self.run.plain and perf_counter() - self.saved > 60)

    def resume(self) -> tuple[History, int]:
        """Puts the newest checkpoint back: the history so far, and the number of steps done."""
        found = checkpoint.latest(self.folder)
        if found is None:
            return History(), 0
        from lamina.train import snapshot

        tensors, facts = found
        checkpoint.same_run(self.out, facts["run"], self.identity)
        snapshot.restore(tensors, self.run.accelerator, self.run.model, _bare(self.run.optimizer))
        history = History.of(facts["history"])
        return history, self.identity["steps"] if facts["ended"] else facts["step"]

    def save(self, step: int, history: History, *, ended: bool) -> None:
        from lamina.train import snapshot

        tensors = snapshot.take(self.run.accelerator, self.run.model, _bare(self.run.optimizer))
        if self.run.accelerator.is_main_process:
            facts = {"run": self.identity, "history": history.as_dict(), "ended": ended}
            checkpoint.write(self.folder, step, tensors, facts)
        self.run.accelerator.wait_for_everyone()
        self.saved = perf_counter()


def identity_of(task: Task, dataset: DataSet, batches: object, settings: dict[str, Any]) -> dict[str, Any]:
    """What must be equal for a checkpoint to belong to this run."""
    config = getattr(task.backbone, "config", None)
    return {
        "model": getattr(task.backbone, "name", type(task.backbone).__name__),
        "config": config.model_dump(mode="json") if isinstance(config, Config) else None,
        "weights": sum(p.numel() for p in task.parameters()),
        "data": dataset.name,
        "digest": dataset.digest,
        "batches": "train" if (other := batches or dataset.masks) is None else repr(other),
        **task.identity(),
        **settings,
    }


def _bare(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The torch optimizer in Accelerate's wrapper."""
    return getattr(optimizer, "optimizer", optimizer)


def _accelerator() -> Accelerator:
    """Accelerate as the environment says; gloo processes on a machine without an accelerator."""
    # without cpu=True Accelerate would let processes on such a machine train each for itself
    accelerator = Accelerator(device_placement=False, cpu=not torch.accelerator.is_available())
    asked = int(os.environ.get("WORLD_SIZE", "1"))
    if asked != accelerator.num_processes:
        raise UserError(
            f"launched as {asked} processes, but Accelerate sees {accelerator.num_processes}; "
            f"start it with `accelerate launch --multi_gpu --num_processes {asked}`"
        )
    sharded = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    if sharded and accelerator.distributed_type != DistributedType.FSDP:
        raise UserError("FSDP was asked for, but Accelerate shards on GPUs only; launch without --use_fsdp for DDP")
    return accelerator


def _device(accelerator: Accelerator, task: Task) -> torch.device:
    """The task's own device in one plain process; what Accelerate gives where it was launched."""
    launched = any(name in os.environ for name in LAUNCHED)
    return accelerator.device if launched else next(task.parameters()).device


def _to(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cpu":
        return batch
    return {key: value.to(device, non_blocking=True) for key, value in batch.items()}


def positive(**numbers: float) -> None:
    """Refuses settings that are not above 0, by name."""
    for name, value in numbers.items():
        if not value > 0 or not isfinite(value):
            raise UserError(f"{name} must be above 0, not {value}")
