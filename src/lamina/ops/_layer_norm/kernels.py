"""Layer norm on a CPU: a frame is read three times, from the nearest cache but for the first."""

from __future__ import annotations

from math import sqrt

from lamina.ops._native.kernel import Kernel, arrays, claim, numbers, real
from lamina.ops._native.simd import fma, lanes, load, load_some, splat, store_some, total, zeros

__all__ = ["forward"]


@Kernel
def forward(call):
    """A task is a frame. The mean first, then the squares of what is left: E[x^2] - E[x]^2 would cancel."""
    x, weight, bias, y = arrays(call, 4)
    frames, size = numbers(call, 4, 2)
    eps, one, kind = real(call, 6), lanes(x), x.dtype.type
    whole, task = size - size % one, claim(call)
    while task < frames:
        at = task * size
        sums, squares = zeros(x), zeros(x)
        for i in range(0, size, one):
            sums = sums + load_some(x, at + i, size - i)
        mean = total(sums) / size
        shift = splat(kind(mean))
        for i in range(0, whole, one):
            rest = load(x, at + i) - shift
            squares = fma(rest, rest, squares)
        square = total(squares) * 1.0
        for i in range(whole, size):
            square += (x[at + i] - kind(mean)) * (x[at + i] - kind(mean))
        scale = splat(kind(1 / sqrt(square / size + eps)))
        for i in range(0, size, one):
            v = scale * (load_some(x, at + i, size - i) - shift)
            v = fma(v, load_some(weight, i, size - i), load_some(bias, i, size - i))
            store_some(y, at + i, v, size - i)
        task = claim(call)
