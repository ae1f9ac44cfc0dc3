"""Selective copying (Gu & Dao 2023, arXiv:2312.00752): keep the tokens, drop the noise between them."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from lamina.data.dataset import NOT_ASKED, DataSet
from lamina.data.tokens import SIZES, Sizes, at_least, token_task

__all__ = ["copy", "copy_examples"]

NOISE = 0


def copy_examples(n: int, generator: torch.Generator, *, length: int, tokens: int, vocab: int) -> tuple[Tensor, Tensor]:
    """n examples: x [n,length+tokens] and y of the same shape.

        x   0 0 5 0 2 0 0 0 5 0 | > > >        0 noise, > the marker vocab-1, between them vocab-2 tokens to remember
        y   . . . . . . . . . . | 5 2 5

    The tokens stand at random frames of the first `length`; each marker asks for the next of them.
    """
    kept = torch.randint(1, vocab - 1, (n, tokens), generator=generator)
    places = torch.rand(n, length, generator=generator).argsort(1)[:, :tokens].sort(1).values
    heard = torch.full((n, length), NOISE).scatter(1, places, kept)
    x = torch.cat([heard, torch.full((n, tokens), vocab - 1)], 1)
    y = torch.cat([torch.full((n, length), NOT_ASKED), kept], 1)
    return x, y


def copy(
    length: int = 256,
    tokens: int = 16,
    vocab: int = 16,
    longer: tuple[int, ...] = (),
    seed: int = 0,
    sizes: Sizes = SIZES,
) -> DataSet:
    """Selective copying as a data set: `tokens` of a vocabulary of `vocab` among `length` frames (paper: 16, 16, 4096).

    longer: lengths of further test parts. Source: Gu & Dao 2023, section 4.1; the task without selection is that of
    Arjovsky et al. 2016.
    """
    at_least("copy", tokens=(tokens, 1), vocab=(vocab, 4), length=(length, tokens))
    for n in longer:
        at_least("copy", longer=(n, tokens))
    make = partial(copy_examples, tokens=tokens, vocab=vocab)
    return token_task(
        "copy",
        partial(make, length=length),
        f"selective copying, {tokens} tokens among {length} frames, vocabulary {vocab}, seed {seed}",
        n_vocab=vocab,
        n_classes=vocab,
        seed=seed,
        sizes=sizes,
        title=f"selective copying of {tokens} tokens",
        probes={n: partial(make, length=n) for n in longer},
        probe="frames",
    )
