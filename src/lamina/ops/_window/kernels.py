"""Attention of a few frames to a cache, which then forgets its oldest frames, where it lies: each row is read once."""

from __future__ import annotations

import numpy as np
from numba import njit

from lamina.ops._native.kernel import Kernel, arrays, claim, numbers, scratch, whole
from lamina.ops._native.simd import exp, fma, lanes, load, load_some, splat, store, store_some, total, zeros

__all__ = ["window"]


@njit(inline="always")
def _score(asked, keys, at, size):
    """The product of a query, zeros behind its own end, and the key at keys[at]."""
    sum = zeros(asked)
    for i in range(0, size, lanes(asked)):
        sum = fma(load(asked, i), load_some(keys, at + i, size - i), sum)
    return total(sum)


@njit(inline="always")
def _weighted(weights, first, count, values, at, step, size, sum):
    """sum + the weights from `first` on times `count` values of `size` numbers, `step` apart."""
    for s in range(count):
        sum = fma(splat(weights[first + s]), load_some(values, at + s * step, size), sum)
    return sum


@njit(inline="always")
def _moved(cache, at, new, new_at, kept, frames, width, first):
    """The cache's slots from `first` on, `frames` forward, and the new frames behind them."""
    one, stay = lanes(cache), max(0, kept - frames)
    i, end, ahead = at + max(0, first - frames) * width, at + stay * width, frames * width
    while i + one <= end:
        store(cache, i, load(cache, i + ahead))
        i += one
    while i < end:
        cache[i] = cache[i + ahead]
        i += 1
    for i in range((kept - stay) * width):
        cache[at + stay * width + i] = new[new_at + (frames - kept + stay) * width + i]


@Kernel
def window(call):
    """A task is a row: softmax(q k^T / sqrt(K)) v of its frames for all heads, then its cache moves on."""
    q, k, v, allowed, keys, values, y = arrays(call, 7)
    rows = whole(call, 7)
    batch, frames, kept, heads, size = numbers(call, 8, 5)
    one, width = lanes(q), heads * size
    wide, none, lowest = (size + one - 1) // one * one, q.dtype.type(0), q.dtype.type(-1e30)
    asked, scores = scratch(call, wide), scratch(call, (kept + one) // one * one + one)
    for i in range(size, wide):
        asked[i] = none
    task = claim(call)
    while task < batch:
        at, new, seen = rows[task] * kept * width, task * frames * width, task * (kept + frames)
        first = 0
        while first < kept and allowed[seen + first] == none:
            first += 1
        for h in range(heads):
            for t in range(frames):
                begin, fresh = max(first, t), max(0, t - kept)  # the oldest slot and the oldest new frame that it sees
                old = max(0, kept - begin)
                count, highest = old + t + 1 - fresh, lowest
                for i in range(size):
                    asked[i] = q[new + t * width + h * size + i] / np.sqrt(q.dtype.type(size))
                for s in range(count):
                    scores[s] = lowest
                    if s < old and allowed[seen + begin + s] != none:
                        scores[s] = _score(asked, keys, at + (begin + s) * width + h * size, size)
                    elif s >= old and allowed[seen + kept + fresh + s - old] != none:
                        scores[s] = _score(asked, k, new + (fresh + s - old) * width + h * size, size)
                    highest = max(highest, scores[s])
                for s in range(count, (count + one - 1) // one * one):
                    scores[s] = lowest
                for s in range(0, count, one):
                    store(scores, s, exp(load(scores, s) - splat(highest)))
                whole_sum = none
                for s in range(count):
                    whole_sum += scores[s]
                share = none if highest == lowest else q.dtype.type(1) / whole_sum
                for i in range(0, size, one):
                    here, rest = h * size + i, size - i
                    sum = _weighted(scores, 0, old, values, at + begin * width + here, width, rest, zeros(q))
                    sum = _weighted(scores, old, count - old, v, new + fresh * width + here, width, rest, sum)
                    store_some(y, new + t * width + here, sum * splat(share), rest)
        _moved(keys, at, k, new, kept, frames, width, first)
        _moved(values, at, v, new, kept, frames, width, first)
        task = claim(call)
