"""History: what a training run leaves behind, as numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Any, Self

__all__ = ["History"]


@dataclass
class History:
    """loss: (step, mean training loss of that step's batch, before its update), every step from 1.
    dev: (step, the task's metric on the dev part after that step).
    notes: (step, what the task said is going wrong), each once.
    seconds: training time, without evaluation and checkpoints. diverged: a loss or gradient was NaN or inf.
    """

    loss: list[tuple[int, float]] = field(default_factory=list)
    dev: list[tuple[int, float]] = field(default_factory=list)
    notes: list[tuple[int, str]] = field(default_factory=list)
    seconds: float = 0.0
    diverged: bool = False

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: None where a number is NaN or inf, which JSON has not."""
        pairs = {
            key: [[step, value if isfinite(value) else None] for step, value in getattr(self, key)]
            for key in ("loss", "dev")
        }
        notes = [[step, words] for step, words in self.notes]
        return {**pairs, "notes": notes, "seconds": self.seconds, "diverged": self.diverged}

    @classmethod
    def of(cls, found: dict[str, Any]) -> Self:
        """From what as_dict wrote to JSON."""
        pairs = {
            key: [(int(step), nan if value is None else float(value)) for step, value in found[key]]
            for key in ("loss", "dev")
        }
        notes = [(int(step), str(words)) for step, words in found.get("notes", [])]
        return cls(pairs["loss"], pairs["dev"], notes, float(found["seconds"]), bool(found["diverged"]))
