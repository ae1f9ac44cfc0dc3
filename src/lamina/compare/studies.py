"""Studies: comparisons asked for by their question, on data with known answers, of the structures with a memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lamina.compare.structure import both_ways
from lamina.data import DATA, named

__all__ = ["STUDIES", "Study", "study_of"]

# what carries a state from frame to frame, and attention with a bounded cache
MEMORIES = ("lstm", "transformer", "linear_attention", "retnet", "gated_retention", "mamba", "deltanet")


@dataclass(frozen=True)
class Study:
    """data: the data set, with these options unless others are asked for. asks: what is found out, for the help."""

    data: str
    options: dict[str, Any] = field(default_factory=dict)
    asks: str = ""
    minutes: float = 25.0
    lr_grid: tuple[float, ...] = (3e-3, 1e-2)
    batch_size: int = 32

    def name(self, options: Mapping[str, Any]) -> str:
        """The data set's name with the study's options under those given."""
        return named.spell(self.data, {**self.options, **options}, DATA[self.data])

    def models(self) -> tuple[str, ...]:
        """Every memory without the short convolution and with it: it is a factor, never hidden in a default."""
        return tuple(name for memory in MEMORIES for name in both_ways(memory))


STUDIES = {
    "recall": Study(
        "mqar",
        {"pairs": (4, 8, 16, 32), "length": 128, "vocab": 128},
        "how many key-value pairs does each state hold?",
    ),
    "copy": Study(
        "copy",
        {"length": 64, "tokens": 8, "longer": (128, 256)},
        "does each state keep what matters and drop the noise, also over more frames than it was trained on?",
    ),
    "induction": Study(
        "induction",
        {"length": 64, "longer": (128, 256, 512, 1024)},
        "does each state find what came next the last time, also in longer sequences than it was trained on?",
    ),
}


def study_of(text: str) -> tuple[Study, dict[str, Any]] | None:
    """The study and the options of "recall" or "recall:length=256"; None where the name is of data."""
    study = STUDIES.get(text.partition(":")[0].strip().lower())
    if study is None:
        return None
    _, colon, rest = text.partition(":")
    return study, named.parse(f"{study.data}{colon}{rest}", DATA)[1]
