"""The plan: what was asked, the structures at their solved sizes, the number of steps. Made once, kept with the run."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

import lamina
from lamina.compare.folder import Folder
from lamina.core.config import UserError
from lamina.data import DataSet

__all__ = ["Entry", "Job", "Plan", "Settings"]

LR_GRID = (1e-3, 3e-3, 1e-2, 3e-2)
MOST_PASSES = 200  # over the training part: more steps than that only repeat the data


@dataclass(frozen=True)
class Settings:
    """What a comparison is asked to do.

    params: weights each, stem and head included. minutes: of the whole run, report included. steps: updates of every
    training in place of the number measured. seeds: how many. models: names, default the structures that can take the
    data, at most eight; all: no such limit, and the mixers' stacks too. study: a study's words, whose structures and
    sizes are then the default.
    """

    data: str = "digits"
    params: int = 60_000
    minutes: float = 5.0
    steps: int | None = None
    seeds: int = 3
    models: tuple[str, ...] = ()
    all: bool = False
    lr_grid: tuple[float, ...] = LR_GRID
    batch_size: int = 64
    study: str = ""

    def __post_init__(self) -> None:
        least = {
            "--params": self.params,
            "--minutes": self.minutes,
            "--seeds": self.seeds,
            "--batch-size": self.batch_size,
        }
        if self.steps is not None:
            least["--steps"] = self.steps
        for name, value in least.items():
            if not 0 < value < float("inf"):
                raise UserError(f"{name} must be above 0, not {value}")
        if not self.lr_grid or not all(0 < lr < float("inf") for lr in self.lr_grid):
            raise UserError("--lr: learning rates must be above 0, such as 1e-3,3e-3,1e-2,3e-2")
        if len(set(self.lr_grid)) < len(self.lr_grid):
            raise UserError("--lr: a learning rate stands there twice; give each once")

    @property
    def trials_each(self) -> int:
        """Trainings of one structure: the grid's seed 0 counts as the first seed of the rate chosen."""
        return len(self.lr_grid) + self.seeds - 1

    def command(self, steps: int) -> str:
        """The command line that makes the same comparison again."""
        words, usual = ["lamina", "compare", self.study or self.data], Settings()
        if self.params != usual.params:
            words += ["--params", f"{self.params}"]
        words += ["--steps", str(steps)]
        if self.seeds != usual.seeds:
            words += ["--seeds", str(self.seeds)]
        if self.models:
            words += ["--models", ",".join(self.models)]
        if self.all:
            words += ["--all"]
        if self.lr_grid != usual.lr_grid:
            words += ["--lr", ",".join(f"{lr:g}" for lr in self.lr_grid)]
        if self.batch_size != usual.batch_size:
            words += ["--batch-size", str(self.batch_size)]
        return shlex.join(words)

    def identity(self, dataset: DataSet) -> dict[str, Any]:
        """What must be equal for trials to belong to one comparison, besides the steps."""
        asked = {
            k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items() if k not in ("steps", "minutes")
        }
        return {**asked, "digest": dataset.digest, "lamina": lamina.__version__, "torch": torch.__version__}


@dataclass(frozen=True)
class Entry:
    """One structure's part of the plan. status: "ready", "infeasible" or "cannot take the data", with its reason."""

    model: str
    status: str
    reason: str | None = None
    keys: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    params: int | None = None
    view: str | None = None
    step_ms: float | None = None  # of a training step as the warm-up measured it

    @property
    def ready(self) -> bool:
        return self.status == "ready"


@dataclass(frozen=True)
class Job:
    """One training: a structure, a learning rate, a seed."""

    model: str
    lr: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.model}-{self.lr:g}-{self.seed}"


@dataclass(frozen=True)
class Plan:
    """The settings, the number of steps that all trainings take, and the structures. left_out: what --all would add."""

    settings: Settings
    steps: int
    entries: tuple[Entry, ...]
    measured: bool
    left_out: tuple[str, ...] = ()

    @property
    def ready(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.ready)

    def entry(self, model: str) -> Entry:
        return next(entry for entry in self.entries if entry.model == model)

    def save(self, folder: Folder, dataset: DataSet) -> None:
        """Writes plan.json."""
        facts = {
            "asked": self.settings.identity(dataset),
            "steps": self.steps,
            "minutes": self.settings.minutes if self.measured else None,
            "entries": [asdict(entry) for entry in self.entries],
            "left_out": list(self.left_out),
        }
        folder.write("plan", facts)

    @classmethod
    def found(cls, folder: Folder, settings: Settings, dataset: DataSet) -> Plan | None:
        """The plan of the folder, where it is of the same comparison; a UserError where it is of another."""
        facts = folder.read("plan")
        if facts is None:
            _orphans(folder.path)
            return None
        mine = {**settings.identity(dataset), "minutes": settings.minutes, "steps": settings.steps}
        theirs = {**facts["asked"], "minutes": facts["minutes"], "steps": facts["steps"]}
        if settings.steps is None:
            mine["steps"] = theirs["steps"] if facts["minutes"] is not None else "measured"
        else:  # a plan that measured the same number of steps is the same comparison
            mine["minutes"] = theirs["minutes"]
        for key, value in mine.items():
            if theirs.get(key) != value:
                raise UserError(
                    f"{folder.path}: holds another comparison ({key} {_text(theirs.get(key))}, here {_text(value)}); "
                    f"choose another --out, or --fresh to replace it"
                )
        entries = tuple(Entry(**entry) for entry in facts["entries"])
        return cls(settings, facts["steps"], entries, facts["minutes"] is not None, tuple(facts["left_out"]))


def _orphans(path: Path) -> None:
    if any((path / "trials").glob("*.json")):
        raise UserError(f"{path}: holds trials but no plan.json; choose another --out, or --fresh to start over")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(_text(v) for v in value) or "default"
    return f"{value:g}" if isinstance(value, float) else str(value)
