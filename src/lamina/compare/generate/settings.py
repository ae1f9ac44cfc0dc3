"""What a comparison of generators is asked to do, and its plan: the weights and the steps of each."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from typing import Any

import torch

import lamina
from lamina.core.config import UserError, nearest
from lamina.data import DataSet

__all__ = ["DATA", "Settings"]

DATA = ("digits", "mnist")


@dataclass(frozen=True)
class Settings:
    """data: digits or mnist. params: weights of each generator. minutes: of the whole run, report included. seeds: how
    many trainings of each.
    """

    data: str = "digits"
    params: int = 60_000
    minutes: float = 8.0
    seeds: int = 3

    def __post_init__(self) -> None:
        if self.data not in DATA:
            raise nearest(self.data, DATA, "data set to make images like")
        for name, value in (("--params", self.params), ("--minutes", self.minutes), ("--seeds", self.seeds)):
            if not 0 < value < float("inf"):
                raise UserError(f"{name} must be above 0, not {value}")

    def command(self) -> str:
        """The command line that makes the same comparison again."""
        words, usual = ["lamina", "compare", "generate", self.data], Settings()
        for key, value in asdict(self).items():
            if key != "data" and value != getattr(usual, key):
                words += [f"--{key}", f"{value:g}" if isinstance(value, float) else str(value)]
        return shlex.join(words)

    def identity(self, dataset: DataSet) -> dict[str, Any]:
        """What must be equal for records to belong to one comparison."""
        return {
            **asdict(self), "digest": dataset.digest, "lamina": lamina.__version__, "torch": torch.__version__,
        }  # fmt: skip
