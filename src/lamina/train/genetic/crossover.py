"""Crossover: two parents make two children. Every operator crosses all pairs of a generation at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from lamina.train.genetic.chance import chance

__all__ = ["CROSSOVERS", "Cross", "blended", "one_point", "sbx", "two_point", "uniform"]

Cross = Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]]
"""(parents [M,G], the other parents [M,G], random numbers) -> children [M,G] and [M,G]. Parents stay as they are."""


def one_point(share: float = 0.9) -> Cross:
    """The genes behind a place between two genes change sides (Holland 1975), in that share of the pairs."""
    chance("one_point", share=share)

    def cross(a: Tensor, b: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        M, G = a.shape
        cut = torch.randint(1, max(2, G), (M, 1), generator=generator)
        cut.masked_fill_(_spared(M, share, generator), G)
        return _swapped(a, b, torch.arange(G) >= cut)

    return cross


def two_point(share: float = 0.9) -> Cross:
    """The genes between two different places change sides (De Jong 1975), in that share of the pairs."""
    chance("two_point", share=share)

    def cross(a: Tensor, b: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        M, G = a.shape
        one = torch.randint(1, G + 1, (M, 1), generator=generator)
        other = torch.randint(1, max(2, G), (M, 1), generator=generator)
        other += other >= one  # two different ones of 1..G, each pair as often
        low, high = torch.minimum(one, other), torch.maximum(one, other)
        low.masked_fill_(_spared(M, share, generator), G)
        at = torch.arange(G)
        return _swapped(a, b, (at >= low) & (at < high))

    return cross


def uniform(share: float = 0.9, swap: float = 0.5) -> Cross:
    """Each gene changes sides with chance `swap` (Syswerda 1989), in that share of the pairs."""
    chance("uniform", share=share, swap=swap)

    def cross(a: Tensor, b: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        M, G = a.shape
        mask = torch.rand(M, G, generator=generator) < swap
        return _swapped(a, b, mask & ~_spared(M, share, generator))

    return cross


def sbx(share: float = 0.9, eta: float = 15.0, genes: float = 0.5) -> Cross:
    """Simulated binary crossover (Deb & Agrawal 1995) of real genes, `blended` with u uniform in 0..1.

    In that share of the pairs each gene is crossed with chance `genes`, and then as often as not which child is near
    which parent changes too, as in Deb's own program. The larger eta, the nearer.
    """
    chance("sbx", share=share, genes=genes)

    def cross(a: Tensor, b: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        M, G = a.shape
        u, pick = torch.rand(2, M, G, generator=generator, dtype=a.dtype)
        pick += _spared(M, share, generator)
        first, second = blended(a, b, u, eta, pick < genes)
        return _swapped(first, second, pick < genes / 2)

    return cross


def blended(a: Tensor, b: Tensor, u: Tensor, eta: float, crossed: Tensor | bool = True) -> tuple[Tensor, Tensor]:
    """The children of SBX for given u in 0..1, of the shape of a and b; the parents where not crossed:

        ((1 + beta) a + (1 - beta) b) / 2  and  ((1 - beta) a + (1 + beta) b) / 2,
        beta = (2u)^(1/(eta+1)) for u <= 1/2,  (1 / (2 - 2u))^(1/(eta+1)) above.

    Their mean is the parents' mean; their distance is beta times the parents'.
    """
    v = 2 * u - 1  # beta = r^(+-1/(eta+1)) with r = 1 - |v|: as a logarithm, which wants no branch and no pow
    beta_less_1 = v.abs().neg_().log1p_().copysign_(v).mul_(1 / (eta + 1)).expm1_()
    step = beta_less_1.mul_(crossed).mul_(b - a).mul_(0.5)
    return a - step, b + step


def _spared(pairs: int, share: float, generator: Generator) -> Tensor:
    """The pairs that are not crossed, [M,1]."""
    return torch.rand(pairs, 1, generator=generator) >= share


def _swapped(a: Tensor, b: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the genes of the mask exchanged."""
    if a.dtype is torch.bool:
        change = (a ^ b) & mask  # a sixth of the time of `where`
        return a ^ change, b ^ change
    return torch.where(mask, b, a), torch.where(mask, a, b)


CROSSOVERS: dict[str, Callable[..., Cross]] = {
    "one_point": one_point, "two_point": two_point, "uniform": uniform, "sbx": sbx,
}  # fmt: skip
