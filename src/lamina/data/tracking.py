"""State tracking (Merrill et al. 2024, arXiv:2404.08819): parity and sums modulo m, to be carried along exactly."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from lamina.core.config import UserError
from lamina.data.dataset import NOT_ASKED, DataSet
from lamina.data.tokens import SIZES, Sizes, at_least, token_task

__all__ = ["modular", "parity", "tracking_examples"]


def tracking_examples(
    n: int, generator: torch.Generator, *, length: int, modulus: int, symbols: int, every: int
) -> tuple[Tensor, Tensor]:
    """n examples: tokens x [n,length] of 0..symbols-1 and y of the same shape.

    y_t = (x_1 + ... + x_t) mod modulus        at every frame (every=1), or at the last one only (every=0)
    """
    x = torch.randint(symbols, (n, length), generator=generator)
    y = x.cumsum(1) % modulus
    if not every:
        y[:, :-1] = NOT_ASKED
    return x, y


def parity(
    length: int = 64, every: int = 1, longer: tuple[int, ...] = (), seed: int = 0, sizes: Sizes = SIZES
) -> DataSet:
    """Parity of random bits: 1 after an odd number of ones. every=1 asks at every frame, every=0 at the last one.

    longer: lengths of further test parts.
    """
    return _tracking("parity", f"parity of {length} bits", length, 2, 2, every, longer, seed, sizes)


def modular(
    modulus: int = 5,
    symbols: int = 5,
    length: int = 64,
    every: int = 1,
    longer: tuple[int, ...] = (),
    seed: int = 0,
    sizes: Sizes = SIZES,
) -> DataSet:
    """Sums modulo `modulus` of random digits 0..symbols-1; symbols=2 is counting. Asked as in parity."""
    at_least("modular", modulus=(modulus, 2), symbols=(symbols, 2))
    what = f"sum of {length} digits below {symbols} modulo {modulus}"
    return _tracking("modular", what, length, modulus, symbols, every, longer, seed, sizes)


def _tracking(
    name: str,
    what: str,
    length: int,
    modulus: int,
    symbols: int,
    every: int,
    longer: tuple[int, ...],
    seed: int,
    sizes: Sizes,
) -> DataSet:
    for n in (length, *longer):
        at_least(name, length=(n, 1))
    if every not in (0, 1):
        raise UserError(f"{name}: every={every}; 1 asks at every frame, 0 at the last one")
    make = partial(tracking_examples, modulus=modulus, symbols=symbols, every=every)
    return token_task(
        name,
        partial(make, length=length),
        f"{what}, asked {'at every frame' if every else 'at the last frame'}, seed {seed}",
        n_vocab=symbols,
        n_classes=modulus,
        seed=seed,
        sizes=sizes,
        title=what,
        probes={n: partial(make, length=n) for n in longer},
        probe="frames",
    )
