"""Weights under other names: which of theirs make one of ours, there and back, and none is left over in silence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from lamina.core.config import UserError

__all__ = ["Rows", "Shapes", "Weight", "Weights", "Whole", "give", "shapes_of", "take"]

Weights = dict[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]  # a checkpoint's names, and the shape of each


def shapes_of(weights: Mapping[str, Tensor]) -> Shapes:
    """Its names and their shapes."""
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


@dataclass(frozen=True)
class Rows:
    """How the rows of one of their matrices, n_heads heads of K, become ours.

    halves: they turn row i with row i + K/2, we turn 2i with 2i + 1. copies: a head of theirs serves so many of ours.
    """

    n_heads: int
    halves: bool = False
    copies: int = 1

    def taken(self, part: Tensor) -> Tensor:
        heads = part.unflatten(0, (self.n_heads, -1))
        if self.halves:
            heads = heads.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)
        return heads.repeat_interleave(self.copies, 0).flatten(0, 1)

    def given(self, part: Tensor, name: str) -> Tensor:
        heads = part.unflatten(0, (self.n_heads, self.copies, -1))
        if not torch.equal(heads, heads[:, :1].expand_as(heads)):
            raise UserError(f"{name}: its heads were one and are trained apart now; that layout cannot hold them")
        heads = heads[:, 0]
        if self.halves:
            heads = heads.unflatten(1, (-1, 2)).transpose(1, 2).flatten(1, 2)
        return heads.flatten(0, 1)


@dataclass(frozen=True)
class Whole:
    """How all of theirs together become ours, and ours theirs again, where it is no row behind row."""

    taken: Callable[[list[Tensor]], Tensor]
    given: Callable[[Tensor], list[Tensor]]


@dataclass(frozen=True)
class Weight:
    """ours is theirs, one behind the other along the first dimension; zeros where they have none.

    transposed: they store columns first. rows: how the rows of each of theirs are ordered, where not as ours. whole:
    in place of all that.
    """

    ours: str
    theirs: tuple[str, ...]
    transposed: bool = False
    rows: tuple[Rows, ...] = ()
    whole: Whole | None = None


def take(given: Weights, table: Sequence[Weight], ignored: Sequence[str], fresh: Mapping[str, Tensor]) -> Weights:
    """Our state dict from theirs; fresh is one of the right shapes.

    A missing name is an error, and one that nothing takes and `ignored` has not.
    """
    ours, used = {}, set()
    for weight in table:
        for name in weight.theirs:
            if name not in given:
                raise UserError(f"holds no {name!r}; are config.json and the weights of one checkpoint?")
        used.update(weight.theirs)
        parts = [given[name].t() if weight.transposed else given[name] for name in weight.theirs]
        if weight.rows:
            parts = [rows.taken(part) for rows, part in zip(weight.rows, parts, strict=True)]
        if weight.whole is not None:
            ours[weight.ours] = weight.whole.taken(parts)
        else:
            ours[weight.ours] = torch.cat(parts) if parts else torch.zeros_like(fresh[weight.ours])
    for name in given:
        if name not in used and not any(fnmatchcase(name, pattern) for pattern in ignored):
            raise UserError(f"nothing of ours takes {name!r}; this kind of checkpoint is not known whole")
    return ours


def give(ours: Mapping[str, Tensor], table: Sequence[Weight], shapes: Shapes) -> Weights:
    """Their state dict from ours; shapes are theirs, empty where parts of one weight are equally long."""
    theirs = {}
    for weight in table:
        whole = ours[weight.ours].detach()
        if not weight.theirs and whole.any():
            raise UserError(f"{weight.ours}: that layout has no such weights, and they are no zeros any more")
        for name, part in zip(weight.theirs, _parts(weight, whole, shapes), strict=True):
            theirs[name] = (part.t() if weight.transposed else part).contiguous().clone()
    return theirs


def _parts(weight: Weight, whole: Tensor, shapes: Shapes) -> Sequence[Tensor]:
    """A weight of ours as the parts that theirs hold, not yet transposed."""
    if weight.whole is not None:
        return weight.whole.given(whole)
    if not weight.theirs:
        return ()
    equal = len(whole) // len(weight.theirs)
    lengths = [shapes[name][-1 if weight.transposed else 0] if shapes else equal for name in weight.theirs]
    if not weight.rows:
        return whole.split(lengths)
    parts = whole.split([n * rows.copies for n, rows in zip(lengths, weight.rows, strict=True)])
    return [rows.given(part, name) for rows, part, name in zip(weight.rows, parts, weight.theirs, strict=True)]
