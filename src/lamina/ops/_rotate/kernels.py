"""The rotation on a CPU: a complex product a pair, the pairs of a vector side by side."""

from __future__ import annotations

from math import cos, sin

import numpy as np

from lamina.ops._native.kernel import Kernel, arrays, claim, numbers, whole
from lamina.ops._native.simd import fma, imaginary, lanes, load_some, real_part, store_some, turned, zeros

__all__ = ["rotate"]


@Kernel
def rotate(call):
    """x times the turns of its frame, or their conjugates where `back`: of a table, or made in float64 where the
    second argument holds positions instead. A task is `block` frames of `heads` rows."""
    x, table, y = arrays(call, 3)
    positions = whole(call, 1)
    made, slowest, frames, heads, size, block, length, position_row, back, x_frame, x_head = numbers(call, 3, 11)
    one, half = lanes(x), size // 2
    turn, turn_at, rates = np.empty(size, x.dtype), 0, np.empty(half)
    if made:
        for i in range(half):
            rates[i] = 10000.0 ** (-i / slowest)
    task = claim(call)
    while task * block < frames:
        for frame in range(task * block, min(frames, (task + 1) * block)):
            if made:
                position = positions[frame // length * position_row + frame % length]
                for i in range(half):
                    angle = position * rates[i]
                    turn[2 * i], turn[2 * i + 1] = cos(angle), sin(angle)
            else:
                turn_at = frame % length * size
            for head in range(heads):
                at, out = frame * x_frame + head * x_head, (frame * heads + head) * size
                for i in range(0, size, one):
                    v = load_some(x, at + i, size - i)
                    w = load_some(turn, i, size - i) if made else load_some(table, turn_at + i, size - i)
                    s = imaginary(w)
                    if back:
                        s = zeros(x) - s
                    store_some(y, out + i, fma(turned(v), s, v * real_part(w)), size - i)
        task = claim(call)
