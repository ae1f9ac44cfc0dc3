"""Multi-query associative recall, MQAR (Arora et al. 2023, arXiv:2312.04927): many keys, each asked for its value."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from lamina.core.config import UserError
from lamina.data.dataset import NOT_ASKED, DataSet
from lamina.data.tokens import SIZES, Sizes, at_least, token_task

__all__ = ["mqar", "mqar_examples"]

POWER = 0.01  # of the gaps' power law, as in the paper


def mqar_examples(
    n: int, generator: torch.Generator, *, pairs: tuple[int, ...], length: int, vocab: int
) -> tuple[Tensor, Tensor]:
    """n examples: x [n,length] and y of the same shape.

        x   k1 v1 k2 v2 | v k2 v v v v v k1        keys are 0..vocab/2-1, values vocab/2..vocab-1
        y   .  .  .  .  | . v2 . . . . . v1

    First the pairs, no key twice; then each key once, as a question, in random order and at gaps drawn from a power law
    (p(gap) ~ gap^(POWER-1), near gaps are likelier). All other frames hold random values, so that a key stands only
    where it is bound or asked. Several numbers of pairs: the examples take turns.
    """
    parts = [len(range(i, n, len(pairs))) for i in range(len(pairs))]
    made = [_examples(rows, generator, p, length, vocab) for rows, p in zip(parts, pairs, strict=True)]
    order = torch.cat([torch.arange(i, n, len(pairs)) for i in range(len(pairs))]).argsort()
    return torch.cat([x for x, _ in made])[order], torch.cat([y for _, y in made])[order]


def _examples(n: int, generator: torch.Generator, pairs: int, length: int, vocab: int) -> tuple[Tensor, Tensor]:
    half, heard = vocab // 2, 2 * pairs
    keys = torch.rand(n, half, generator=generator).argsort(1)[:, :pairs]
    values = torch.randint(half, vocab, (n, pairs), generator=generator)
    x = torch.randint(half, vocab, (n, length), generator=generator)
    x[:, :heard:2], x[:, 1:heard:2] = keys, values
    slots = (length - heard) // 2  # a question takes every second frame at most
    likely = torch.arange(1, slots + 1, dtype=torch.float64) ** (POWER - 1)
    # the order of arrivals with these rates is a draw without replacement
    arrivals = torch.rand(n, slots, generator=generator, dtype=torch.float64).log() / likely
    places = heard + 2 * arrivals.argsort(1, descending=True)[:, :pairs]
    y = torch.full_like(x, NOT_ASKED)
    return x.scatter(1, places, keys), y.scatter(1, places, values)


def mqar(
    pairs: tuple[int, ...] = (16,), length: int = 128, vocab: int = 256, seed: int = 0, sizes: Sizes = SIZES
) -> DataSet:
    """MQAR as a data set: `pairs` keys with their values in `length` frames (paper: a vocabulary of 8,192).

    Several numbers of pairs, 4+8+16, are trained on together, and each is a test part of its own too. Every answer
    counts alike, so that in a mixture most are of the largest number.
    """
    if len(set(pairs)) < len(pairs):
        raise UserError(f"mqar: pairs={'+'.join(map(str, pairs))}; a number stands there twice")
    at_least("mqar", pairs=(min(pairs), 1), length=(length, 4 * max(pairs)), vocab=(vocab, 2 * max(pairs)))
    if vocab % 2:
        raise UserError(f"mqar: vocab={vocab}; it must be even, half keys and half values")
    make = partial(mqar_examples, length=length, vocab=vocab)
    numbers = ", ".join(map(str, pairs))
    return token_task(
        "mqar",
        partial(make, pairs=pairs),
        f"MQAR, {numbers} pairs in {length} frames, vocabulary {vocab}, seed {seed}",
        n_vocab=vocab,
        n_classes=vocab,
        seed=seed,
        sizes=sizes,
        title=f"recall of {numbers} pairs" if len(pairs) == 1 else f"recall of {min(pairs)} to {max(pairs)} pairs",
        probes={p: partial(make, pairs=(p,)) for p in pairs} if len(pairs) > 1 else {},
        probe="key-value pairs",
    )
