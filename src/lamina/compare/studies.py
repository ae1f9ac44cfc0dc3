"""Studies: comparisons asked for by their question, on data with known answers, of the structures with a memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lamina.compare.structure import both_ways
from lamina.data import DATA, named

__all__ = ["STUDIES", "Study", "study_of"]

RECURRENT = ("lstm", "linear_attention", "retnet", "gated_retention", "mamba", "deltanet")
WINDOW, CACHE = "transformer", "causal_attention"
# one head, for a state as large as the width allows; retnet's heads are its time scales, so it keeps them
ONE_HEAD = {name: {"n_heads": 1} for name in ("linear_attention", "gated_retention", "deltanet")}


@dataclass(frozen=True)
class Study:
    """data: the data set, with these options unless others are asked for. memories: the structures compared.

    keys: what a structure is built with, by its model's name, besides its solved widths. steps: of each training; steps
    and not minutes, so that a slow machine does not change what is learned.
    """

    data: str
    options: dict[str, Any]
    memories: tuple[str, ...]
    steps: int = 1500
    lr_grid: tuple[float, ...] = (3e-3, 1e-2)
    batch_size: int = 16
    keys: dict[str, dict[str, Any]] = field(default_factory=lambda: ONE_HEAD)

    def data_name(self, options: dict[str, Any]) -> str:
        """The data set with the study's options under those given; room and words for all pairs that are asked for."""
        chosen = {**self.options, **options}
        if pairs := chosen.get("pairs"):
            chosen = {"length": max(128, 4 * max(pairs)), "vocab": max(128, 2 * max(pairs)), **chosen}
        return named.spell(self.data, chosen, DATA[self.data])

    def models(self) -> tuple[str, ...]:
        """Every memory without the short convolution and with it: it is a factor, never hidden in a default."""
        return tuple(name for memory in self.memories for name in both_ways(memory))


STUDIES = {
    # how many key-value pairs does a state hold? The window of 128 sees all of it
    "recall": Study("mqar", {"pairs": (4, 8, 16, 32)}, (WINDOW, *RECURRENT)),
    # does a state keep what matters and drop the noise, over more frames than it was trained on?
    "copy": Study("copy", {"length": 64, "tokens": 8, "longer": (128, 256)}, (WINDOW, CACHE, *RECURRENT)),
    # does a state find what came next the last time, in longer sequences than it was trained on?
    "induction": Study("induction", {"length": 64, "longer": (128, 256, 512, 1024)}, (WINDOW, CACHE, *RECURRENT)),
}


def study_of(text: str) -> tuple[str, Study, dict[str, Any]] | None:
    """Name, study and options of "recall" or "recall:pairs=4+8"; None where the words name no study."""
    name, colon, rest = text.partition(":")
    name = name.strip().lower()
    if name not in STUDIES:
        return None
    study = STUDIES[name]
    return name, study, named.parse(f"{study.data}{colon}{rest}", DATA)[1]
