"""What streaming costs: a recogniser with all of the past, with its stream's, and in true steps."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor

from lamina.core import Layer, Seq, Serial, run_steps
from lamina.data import NOT_ASKED, Split
from lamina.layers import CausalAttention, ChunkAttention, Linear, WindowAttention
from lamina.layers.projection import Projection
from lamina.speech.decode import BestPath
from lamina.speech.score import Score, score
from lamina.speech.units import Units

__all__ = ["Contexts", "contexts", "unlimited"]

ROWS = 32  # utterances that are heard together


@dataclass(frozen=True)
class Contexts:
    """Scores of one recogniser's best paths on one part of its data.

    full: each utterance at once, every attention seeing all frames before its own (`unlimited`). limited: at once, with
    what the stream sees. steps: frame by frame. differing: utterances whose texts by limited and steps differ; the
    contract has it that there is none.
    """

    full: Score
    limited: Score
    steps: Score
    differing: int

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON; ratio: the CER of steps over that of full, None where full has no error."""
        ratio = self.steps.cer.rate / self.full.cer.rate if self.full.cer.rate else None
        return {**asdict(self), "ratio": ratio}


@torch.no_grad()
def contexts(task: Any, split: Split, units: Units) -> Contexts:
    """The three scores of a finished CTC task (`Run.task`) on a part of its data, from its features on.

    Log-mel energies have no context to take away: a frame of them is the same in a stream.
    """
    layer, most = _network(task), int(split.lengths.max()) if split.lengths is not None else split.x.shape[1]
    whole = unlimited(layer, most)
    said: list[str] = []
    told: list[list[str]] = [[], [], []]
    for x, y in _batches(task, split):
        said += [units.decode(row[row != NOT_ASKED].tolist()) for row in y]
        for texts, logits in zip(told, (whole(x), layer(x), run_steps(layer, x)), strict=True):
            texts += [_text(row[: int(n)], units) for row, n in zip(logits.values, logits.lengths(), strict=True)]
    differing = sum(a != b for a, b in zip(told[1], told[2], strict=True))
    full, limited, steps = (score(said, texts) for texts in told)
    return Contexts(full, limited, steps, differing)


def unlimited(layer: Layer, frames: int) -> Layer:
    """The same weights, every attention seeing up to so many frames before its own; lookahead and chunks as they were.

    Recurrences and convolutions are as they were: they see all of the past already, or by their weights a part of it.
    """
    whole = copy.deepcopy(layer)
    for module in whole.modules():
        if isinstance(module, WindowAttention | ChunkAttention) and module.left is not None:
            module.left = max(module.left, frames)
        elif isinstance(module, CausalAttention) and module.capacity is not None:
            module.capacity = max(module.capacity, frames)
    return whole


def _network(task: Any) -> Layer:
    """Stem, backbone and head as one streaming layer."""
    head = Linear(cast(int, task.backbone.d_out), task.n_out)
    head.linear = cast(Projection, task.head)
    return Serial(task.stem, task.backbone, head).eval()


def _batches(task: Any, split: Split) -> Iterator[tuple[Seq, Tensor]]:
    for rows in torch.arange(len(split)).split(ROWS):
        batch = split.rows(rows)
        yield task.view(batch["x"], batch.get("lengths")), batch["y"]


def _text(logits: Tensor, units: Units) -> str:
    labels = BestPath().whole(logits.log_softmax(-1))
    return units.decode([one.label for one in labels]).strip()
