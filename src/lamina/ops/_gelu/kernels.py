"""GELU on a CPU, by a Chebyshev series of erfc whose relative error is 1.2e-7 (Press et al. 1992, section 6.2)."""

from __future__ import annotations

from math import sqrt

from numba import njit

from lamina.ops._native.kernel import Kernel, arrays, claim, numbers
from lamina.ops._native.simd import between, exp, fma, lanes, load_some, splat, store_some, zeros

__all__ = ["forward"]

# erfc(a) = t exp(-a^2 + sum_k c_k t^k), t = 1 / (1 + a/2), a >= 0; from the highest power down
SERIES = (
    0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418, 0.37409196, 1.00002368,
    -1.26551223,
)  # fmt: skip
ROOT = 1 / sqrt(2)
BEYOND, INFINITE = 20.0, float("inf")  # erfc is 0 in float32 beyond the first


@njit(inline="always")
def _erfc(array, a):
    """erfc of a vector >= 0."""
    kind = array.dtype.type
    t = splat(kind(1)) / fma(a, splat(kind(0.5)), splat(kind(1)))
    p = zeros(array)
    for c in SERIES:
        p = fma(p, t, splat(kind(c)))
    return t * exp(p - a * a)


@Kernel
def forward(call):
    """A task is `block` numbers. y = max(x, 0) - |x|/2 erfc(|x| / sqrt 2)."""
    x, y = arrays(call, 2)
    count, block = numbers(call, 2, 2)
    one, kind, task = lanes(x), x.dtype.type, claim(call)
    while task * block < count:
        for i in range(task * block, min(count, (task + 1) * block), one):
            v = load_some(x, i, count - i)
            near = between(v, splat(kind(-BEYOND)), splat(kind(BEYOND)))
            above = between(near, zeros(x), splat(kind(BEYOND)))
            size = above + above - near
            tail = splat(kind(0.5)) * size * _erfc(x, size * splat(kind(ROOT)))
            store_some(y, i, between(v, zeros(x), splat(kind(INFINITE))) - tail, count - i)
        task = claim(call)
