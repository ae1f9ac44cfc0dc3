"""Mutation: some genes of the children change. Every operator changes a whole generation at once, in place."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from lamina.core.config import UserError
from lamina.train.genetic.chance import chance, drawn

__all__ = ["MUTATIONS", "Mutate", "flip", "gaussian", "polynomial", "polynomial_step"]

Mutate = Callable[[Tensor, Tensor, Generator], None]
"""Changes children [P,G], contiguous, in place, with random numbers; scale: of real genes, [G] or one for all."""


def flip(rate: float | None = None, share: float = 1.0) -> Mutate:
    """A bit turns over with chance `rate` in that share of the children; by default one of each on average."""
    genes = _genes("flip", rate, share)

    def mutate(children: Tensor, scale: Tensor, generator: Generator) -> None:
        at = genes(children, generator)
        bits = children.view(-1)
        bits[at] = ~bits[at]

    return mutate


def gaussian(sigma: float = 0.1, rate: float | None = None, share: float = 1.0) -> Mutate:
    """A normal number of `sigma` times the gene's scale is added with chance `rate` in that share of the children."""
    _positive("gaussian", sigma=sigma)

    def steps(n: int, dtype: torch.dtype, generator: Generator) -> Tensor:
        return torch.randn(n, generator=generator, dtype=dtype).mul_(sigma)

    return _moved("gaussian", steps, rate, share)


def polynomial(eta: float = 20.0, rate: float | None = None, share: float = 1.0) -> Mutate:
    """Polynomial mutation (Deb & Goyal 1996): `polynomial_step` times the gene's scale is added, with chance `rate` in
    that share of the children.

    Most steps are small, about 1 / eta of the range, and a few reach far.
    """
    _positive("polynomial", eta=eta)

    def steps(n: int, dtype: torch.dtype, generator: Generator) -> Tensor:
        return polynomial_step(torch.rand(n, generator=generator, dtype=dtype), eta)

    return _moved("polynomial", steps, rate, share)


def polynomial_step(u: Tensor, eta: float) -> Tensor:
    """(2u)^(1/(eta+1)) - 1 for u <= 1/2, 1 - (2 - 2u)^(1/(eta+1)) above; in -1..1."""
    v = 2 * u - 1  # 1 - (1 - |v|)^(1/(eta+1)) with the sign of v, without pow
    return v.abs().neg_().log1p_().mul_(1 / (eta + 1)).expm1_().copysign_(v)


def _moved(
    name: str, steps: Callable[[int, torch.dtype, Generator], Tensor], rate: float | None, share: float
) -> Mutate:
    """Steps, times the scale, added to the genes that change."""
    genes = _genes(name, rate, share)

    def mutate(children: Tensor, scale: Tensor, generator: Generator) -> None:
        at = genes(children, generator)
        far = scale if scale.dim() == 0 else scale[at % children.shape[1]]
        children.view(-1).index_add_(0, at, steps(len(at), children.dtype, generator) * far)

    return mutate


def _genes(name: str, rate: float | None, share: float) -> Callable[[Tensor, Generator], Tensor]:
    """Which genes change: their places in the children as one row."""
    chance(name, share=share, **({} if rate is None else {"rate": rate}))

    def genes(children: Tensor, generator: Generator) -> Tensor:
        P, G = children.shape
        each = 1 / G if rate is None else rate
        if share >= 1:
            return drawn(P * G, each, generator)
        rows = drawn(P, share, generator)
        at = drawn(len(rows) * G, each, generator)
        return rows[at // G] * G + at % G

    return genes


def _positive(where: str, **settings: float) -> None:
    for name, value in settings.items():
        if not value > 0:
            raise UserError(f"{where}: {name}={value:g} must be above 0")


MUTATIONS: dict[str, Callable[..., Mutate]] = {"flip": flip, "gaussian": gaussian, "polynomial": polynomial}
