"""Induction heads (Gu & Dao 2023, arXiv:2312.00752, after Olsson et al. 2022): what came after it the last time?"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from lamina.data.dataset import NOT_ASKED, DataSet
from lamina.data.tokens import SIZES, Sizes, at_least, token_task

__all__ = ["induction", "induction_examples"]


def induction_examples(n: int, generator: torch.Generator, *, length: int, vocab: int) -> tuple[Tensor, Tensor]:
    """n examples: x [n,length] and y of the same shape.

        x   3 1 4 * 7 5 2 6 *        * the special token vocab-1, the others random of 0..vocab-2
        y   . . . . . . . . 7

    The special token stands once at a random frame; at the last frame it stands again and asks for what followed it.
    """
    x = torch.randint(vocab - 1, (n, length), generator=generator)
    place = torch.randint(length - 2, (n, 1), generator=generator)
    answer = x.gather(1, place + 1)[:, 0]
    x = x.scatter(1, place, vocab - 1)
    x[:, -1] = vocab - 1
    y = torch.full_like(x, NOT_ASKED)
    y[:, -1] = answer
    return x, y


def induction(
    length: int = 256, vocab: int = 16, longer: tuple[int, ...] = (), seed: int = 0, sizes: Sizes = SIZES
) -> DataSet:
    """Induction heads as a data set of sequences of `length` (paper: trained at 256, vocabulary 16, tested to 2^20).

    longer: lengths of further test parts. Source: Gu & Dao 2023, section 4.1.2.
    """
    at_least("induction", length=(length, 3), vocab=(vocab, 3))
    for n in longer:
        at_least("induction", longer=(n, 3))
    make = partial(induction_examples, vocab=vocab)
    return token_task(
        "induction",
        partial(make, length=length),
        f"induction heads, {length} frames, vocabulary {vocab}, seed {seed}",
        n_vocab=vocab,
        n_classes=vocab,
        seed=seed,
        sizes=sizes,
        title=f"induction over {length} frames",
        probes={n: partial(make, length=n) for n in longer},
        probe="frames",
    )
