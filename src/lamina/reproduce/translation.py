"""What the claims of translation do alike: networks on pairs, their BLEU by the length of the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lamina.core import Seq
from lamina.data import NOT_ASKED, DataSet, Split
from lamina.reproduce.picture import ink
from lamina.reproduce.word_map import WordMap
from lamina.tasks import Task, Translate, search
from lamina.tasks.align import alignment
from lamina.tasks.bleu import bleu

__all__ = ["by_length", "map_of", "of_length", "score", "word_map"]

AT_ONCE = 100


def score(task: Task, dataset: DataSet, split: Split, beams: int) -> float:
    """BLEU of a part, 0..100; of `dates` the tokens are words already."""
    return bleu(*_texts(task, dataset, split, beams), words=dataset.name.startswith("dates"))


def by_length(task: Task, dataset: DataSet, split: Split, beams: int, edges: Sequence[int]) -> list[list[float]]:
    """[[longest source of a class, in tokens, BLEU, pairs], ...] for classes of lengths up to each of the edges."""
    told, right = _texts(task, dataset, split, beams)
    assert split.lengths is not None
    found, low = [], 0
    for edge in edges:
        rows = [i for i, n in enumerate(split.lengths.tolist()) if low < n <= edge]
        if rows:
            found.append([edge, bleu([told[i] for i in rows], [right[i] for i in rows]), len(rows)])
        low = edge
    return found


def _texts(task: Task, dataset: DataSet, split: Split, beams: int) -> tuple[list[str], list[str]]:
    """What the network tells of each source, and the right answers."""
    assert isinstance(task, Translate) and dataset.vocabulary is not None and split.lengths is not None  # noqa: PT018
    words = dataset.vocabulary
    teller, told = task.teller(words.start, words.separator), [""] * len(split)
    for rows in split.lengths.argsort(stable=True).split(AT_ONCE):
        longest = int(split.lengths[rows].max())
        source = Seq.ragged(split.x[rows, :longest].long(), split.lengths[rows])
        for row, found in zip(rows.tolist(), search(teller, source, beams=beams, most=2 * longest + 10), strict=True):
            told[row] = words.spelled(found)
    return told, [words.spelled(_real(y)) for y in split.y]


@torch.no_grad()
def map_of(task: Task, dataset: DataSet, split: Split, row: int) -> dict[str, Any]:
    """For a record: a pair's words, and where its last attention looked for each, the mean of its heads [U][S]."""
    assert isinstance(task, Translate) and dataset.vocabulary is not None and split.lengths is not None  # noqa: PT018
    words, source = dataset.vocabulary, split.x[row, : int(split.lengths[row])].long()
    target = split.y[row][split.y[row] != NOT_ASKED].long()
    maps = alignment(task.teller(words.start, words.separator), source, target[:-1])
    weights = list(maps.values())[-1].mean(0)
    spelled = [[words.spelled([n]).strip() or "end" for n in side.tolist()] for side in (source, target[1:])]
    return {"source": spelled[0], "target": spelled[1], "weights": [[round(w, 3) for w in r] for r in weights.tolist()]}


def of_length(split: Split, tokens: int) -> int:
    """The first row whose source has that many tokens, or as nearly as there is one."""
    assert split.lengths is not None
    return int((split.lengths - tokens).abs().argmin())


def word_map(found: dict[str, Any], title: str, family: str) -> WordMap:
    """The picture of a record's map."""
    return WordMap(found["source"], found["target"], found["weights"], title, ink(family))


def _real(y: Tensor) -> list[int]:
    return [int(n) for n in y[y != NOT_ASKED]]
