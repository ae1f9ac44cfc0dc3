"""Batches by the number of the step, which depend on (seed, step) only, and their shards for several processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from lamina.data.dataset import DataSet, Examples, Split
from lamina.data.hide import ask, shown
from lamina.data.vary import Masks
from lamina.data.vocabulary import Vocabulary

__all__ = [
    "Batches",
    "Bucketed",
    "Fresh",
    "Hidden",
    "Masked",
    "Windows",
    "batches",
    "generator_of",
    "in_order",
    "shard",
]

MOST_TOKENS = 2**15  # of a batch that is scored
MOST_FRAMES, MOST_SAMPLES = 2**16, 2**21
POOL = 32  # batches whose rows are sorted by length together


def batches(dataset: DataSet, batch_size: int, seed: int) -> Callable[[int], dict[str, Tensor]]:
    """What a training reads: step (from 0) -> batch. A run is resumed by asking for the next number.

    Fresh examples where the data set makes them, windows at random places of a text, else shuffled rows, of which a
    masked language model is asked for other words every time. Sounds of like length stand together, and where the data
    set says so, other parts of them are hidden every time.
    """
    if dataset.examples is not None:
        return Fresh(dataset.examples, batch_size, seed)
    if dataset.task == "mlm":
        assert dataset.vocabulary is not None
        return Hidden(dataset.train, batch_size, seed, dataset.vocabulary)
    if dataset.kind in ("audio", "samples") and dataset.train.lengths is not None:
        rows = Bucketed(dataset.train, batch_size, seed)
        return rows if dataset.masks is None else Masked(rows, dataset.masks, dataset.scale[0], seed)
    return (Windows if dataset.task == "lm" else Batches)(dataset.train, batch_size, seed)


def generator_of(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step; its seeds are odd, so that none repeats a data set's small even one."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) * 2 + 1)


@dataclass(frozen=True)
class Fresh:
    """Fresh examples for every step, never seen twice."""

    examples: Examples
    batch_size: int
    seed: int

    def __call__(self, step: int) -> dict[str, Tensor]:
        x, y = self.examples(self.batch_size, generator_of(self.seed, step))
        return {"x": x, "y": y}


class Windows:
    """Windows of a text at random places: its rows x [N,T], one after another, and the byte behind each in y [N,T]."""

    def __init__(self, split: Split, batch_size: int, seed: int) -> None:
        self.text = torch.cat([split.x.flatten(), split.y[-1, -1:]])
        self.frames, self.batch_size, self.seed = split.x.shape[1], batch_size, seed

    def __call__(self, step: int) -> dict[str, Tensor]:
        """The batch of that step: {"x": [B,T], "y": [B,T]}, y one byte behind x."""
        places = len(self.text) - self.frames
        starts = torch.randint(places, (self.batch_size, 1), generator=generator_of(self.seed, step))
        rows = self.text[starts + torch.arange(self.frames + 1)]
        return {"x": rows[:, :-1], "y": rows[:, 1:]}


class Batches:
    """Shuffled batches of a Split, by the number of the step: a run is resumed by asking for the next number.

    Every epoch is a new permutation; a last batch short of batch_size is left out, its rows come in other epochs.
    A Split smaller than batch_size is one batch.
    """

    def __init__(self, split: Split, batch_size: int, seed: int) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.split, self.seed = split, seed
        self.batch_size = min(batch_size, len(split))
        self.per_epoch = len(split) // self.batch_size

    def rows(self, step: int) -> Tensor:
        """Row numbers of the batch of that step (from 0), [B]."""
        epoch, at = divmod(step, self.per_epoch)
        return permutation(len(self.split), self.seed, epoch)[at * self.batch_size : (at + 1) * self.batch_size]

    def __call__(self, step: int) -> dict[str, Tensor]:
        """The batch of that step: {"x", "y"[, "lengths"]}."""
        return self.split.rows(self.rows(step))


class Bucketed:
    """Shuffled batches of rows of like length, each as long as its own longest; a pure function of (seed, step) too.

    The rows of an epoch are those of `Batches` in its order: every row counts alike. Each run of POOL batches is sorted
    by length and cut into batches anew, and the epoch's batches are shuffled.
    """

    def __init__(self, split: Split, batch_size: int, seed: int) -> None:
        assert split.lengths is not None
        self.shuffled, self.lengths = Batches(split, batch_size, seed), split.lengths
        self.epoch: tuple[int, Tensor] = (-1, split.lengths[:0])  # the last one asked for, and its batches

    def rows(self, step: int) -> Tensor:
        """Row numbers of the batch of that step (from 0), [B]."""
        epoch, at = divmod(step, self.shuffled.per_epoch)
        if self.epoch[0] != epoch:
            self.epoch = epoch, self._batches(epoch)
        return self.epoch[1][at]

    def __call__(self, step: int) -> dict[str, Tensor]:
        """The batch of that step: {"x", "y", "lengths"[, "aligned"]}."""
        return self.shuffled.split.rows(self.rows(step))

    def _batches(self, epoch: int) -> Tensor:
        """The epoch's rows, [batches,B]."""
        n, size, seed = self.shuffled.per_epoch, self.shuffled.batch_size, self.shuffled.seed
        order = permutation(len(self.lengths), seed, epoch)[: n * size]
        pools = [rows[self.lengths[rows].argsort(stable=True)] for rows in order.split(POOL * size)]
        return torch.cat(pools).reshape(n, size)[permutation(n, seed, epoch)]


@dataclass(frozen=True)
class Masked:
    """Batches of sounds, other parts hidden at every step."""

    batches: Bucketed
    masks: Masks
    mean: float
    seed: int

    def __call__(self, step: int) -> dict[str, Tensor]:
        return self.masks(self.batches(step), self.mean, generator_of(self.seed, step))


class Hidden:
    """Shuffled rows of `data.hide.ask`, other words hidden at every step."""

    def __init__(self, split: Split, batch_size: int, seed: int, vocabulary: Vocabulary) -> None:
        self.rows, self.seed, self.vocabulary = Batches(shown(split), batch_size, seed), seed, vocabulary

    def __call__(self, step: int) -> dict[str, Tensor]:
        """The batch of that step: {"x" [B,T], "y" [B,T], "lengths" [B]}."""
        rows = self.rows(step)
        follows, generator = rows["y"][:, 0], generator_of(self.seed, step)
        return ask(rows["x"], rows["lengths"], follows, self.vocabulary, generator).rows(slice(None))


@lru_cache(maxsize=4)
def permutation(n: int, seed: int, epoch: int) -> Tensor:
    """The order of n rows in that epoch, [n]."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))


def shard(batch: dict[str, Tensor], rank: int, world: int) -> dict[str, Tensor]:
    """The rows of one process: the shards of all, one after another, are the batch. Sizes differ by one at most."""
    if world == 1:
        return batch
    return {key: value.tensor_split(world)[rank] for key, value in batch.items()}


def in_order(split: Split, batch_size: int) -> list[slice]:
    """The rows of a whole Split from first to last, the last batch as short as it is.

    Of long rows fewer at once; of tokens, whose scores take a number for each word of the vocabulary, still fewer.
    """
    if split.sampled:
        batch_size = max(1, min(batch_size, MOST_SAMPLES // split.shape[0]))
    elif not split.x.is_floating_point():
        batch_size = max(1, min(batch_size, MOST_TOKENS // split.x.shape[1]))
    elif split.lengths is not None:
        batch_size = max(1, min(batch_size, MOST_FRAMES // split.x.shape[1]))
    return [slice(at, at + batch_size) for at in range(0, len(split), batch_size)]
