"""Weights under other names: which of theirs make one of ours, there and back, and none is left over in silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from lamina.core.config import UserError

__all__ = ["Weight", "give", "take"]

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Weight:
    """ours is theirs, one behind the other along the first dimension; transposed: they store columns first.

    sizes: rows of each of theirs, where they are not equal.
    """

    ours: str
    theirs: tuple[str, ...]
    transposed: bool = False
    sizes: tuple[int, ...] | None = None


def take(given: Weights, table: Sequence[Weight], ignored: Sequence[str], where: str) -> Weights:
    """Our state dict from theirs. A missing name is an error, and one that nothing takes and `ignored` has not."""
    ours, used = {}, set()
    for weight in table:
        for name in weight.theirs:
            if name not in given:
                raise UserError(f"{where}: holds no {name!r}; are config.json and the weights of one checkpoint?")
        parts = [given[name].t() if weight.transposed else given[name] for name in weight.theirs]
        used.update(weight.theirs)
        ours[weight.ours] = torch.cat(parts) if len(parts) > 1 else parts[0].contiguous()
    for name in given:
        if name not in used and not any(fnmatchcase(name, pattern) for pattern in ignored):
            raise UserError(f"{where}: nothing of ours takes {name!r}; this kind of checkpoint is not known whole")
    return ours


def give(ours: Weights, table: Sequence[Weight]) -> Weights:
    """Their state dict from ours."""
    theirs = {}
    for weight in table:
        whole = ours[weight.ours].detach()
        sizes = weight.sizes or (len(whole) // len(weight.theirs),) * len(weight.theirs)
        for name, part in zip(weight.theirs, whole.split(list(sizes)), strict=True):
            theirs[name] = (part.t() if weight.transposed else part).contiguous().clone()
    return theirs
