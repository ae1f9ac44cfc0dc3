"""Batches whose order depends on (seed, epoch) only, and their shards for several processes."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from lamina.data.dataset import Split

__all__ = ["Batches", "in_order", "shard"]


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
    """The rows of a whole Split from first to last, the last batch as short as it is."""
    return [slice(at, at + batch_size) for at in range(0, len(split), batch_size)]
