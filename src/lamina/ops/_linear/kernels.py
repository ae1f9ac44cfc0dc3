"""A matrix times one frame, or a few: every thread reads its rows of weights once, one after another.

Nothing is computed twice with a weight, so its way from memory is the whole cost, and memory is quickest read in
order, by every core.
"""

from __future__ import annotations

from numba import njit

from lamina.ops._native.kernel import Kernel, arrays, claim, numbers
from lamina.ops._native.simd import fma, lanes, load, load_some, total, zeros

__all__ = ["product"]


@njit(inline="always")
def _dot(x, x_at, weight, at, size):
    """The product of a frame and a row: four sums side by side, since each waits for its last addition."""
    one = lanes(x)
    a, b, c, d = zeros(x), zeros(x), zeros(x), zeros(x)
    whole = size - size % (4 * one)
    for i in range(0, whole, 4 * one):
        p, q = x_at + i, at + i
        a = fma(load(x, p), load(weight, q), a)
        b = fma(load(x, p + one), load(weight, q + one), b)
        c = fma(load(x, p + 2 * one), load(weight, q + 2 * one), c)
        d = fma(load(x, p + 3 * one), load(weight, q + 3 * one), d)
    for i in range(whole, size, one):
        a = fma(load_some(x, x_at + i, size - i), load_some(weight, at + i, size - i), a)
    return total((a + b) + (c + d))


@Kernel
def product(call):
    """A task is `block` rows of the weights."""
    x, weight, bias, y = arrays(call, 4)
    frames, size, rows, block, biased = numbers(call, 4, 5)
    none, task = x.dtype.type(0), claim(call)
    while task * block < rows:
        for row in range(task * block, min(rows, (task + 1) * block)):
            shift = bias[row] if biased else none
            for frame in range(frames):
                y[frame * rows + row] = _dot(x, frame * size, weight, row * size, size) + shift
        task = claim(call)
