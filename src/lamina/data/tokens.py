"""Token tasks with known answers: fixed dev and test parts, and fresh examples for every training step."""

from __future__ import annotations

import torch

from lamina.core.config import UserError
from lamina.data.dataset import DataSet, Examples, Split

__all__ = ["SIZES", "Sizes", "at_least", "token_task"]

Sizes = tuple[int, int, int]
SIZES: Sizes = (512, 512, 2048)  # a sample of the training examples, dev, test
PROBED, FEWEST = 2**17, 64  # frames of a probe, and its examples at least


def token_task(
    name: str,
    examples: Examples,
    source: str,
    *,
    n_vocab: int,
    n_classes: int,
    seed: int,
    sizes: Sizes,
    title: str,
    probes: dict[int, Examples] | None = None,
    probe: str = "",
) -> DataSet:
    """The data set of a function that makes examples: tokens [n,T] and a class a frame [n,T], NOT_ASKED elsewhere.

    probes: makers of further test parts, as many examples each as the test part has, but fewer of long ones.
    """
    generator = torch.Generator().manual_seed(2 * seed)
    train, dev, test = (Split(*examples(n, generator)) for n in sizes)
    further: dict[int, Split] = {}
    for number, make in (probes or {}).items():
        frames = make(1, generator)[0].shape[1]
        further[number] = Split(*make(min(sizes[2], max(FEWEST, PROBED // frames)), generator))
    return DataSet(
        name,
        "tokens",
        "answer",
        train,
        dev,
        test,
        source,
        n_classes=n_classes,
        n_vocab=n_vocab,
        examples=examples,
        probes=further,
        probe=probe,
        title=title,
    )


def at_least(name: str, **pairs: tuple[int, int]) -> None:
    """Refuses options below their least: at_least("mqar", pairs=(0, 1)) says that pairs must be at least 1."""
    for key, (value, least) in pairs.items():
        if value < least:
            raise UserError(f"{name}: {key}={value}; it must be at least {least}")
