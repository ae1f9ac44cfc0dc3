"""RMS norm on a CPU: a row is read twice, from the nearest cache the second time."""

from __future__ import annotations

from math import sqrt

from lamina.ops._native.kernel import Kernel, arrays, claim, numbers, real
from lamina.ops._native.simd import fma, lanes, load_some, sigmoid, splat, store_some, total, zeros

__all__ = ["backward", "forward"]


@Kernel
def forward(call):
    """A task is `block` frames, of `heads` rows each."""
    x, weight, gate, y = arrays(call, 4)
    frames, heads, size, block, weighted, gated = numbers(call, 4, 6)
    x_frame, x_head, gate_frame, gate_head = numbers(call, 10, 4)
    eps, one, kind = real(call, 14), lanes(x), x.dtype.type
    task = claim(call)
    while task * block < frames:
        for row in range(task * block * heads, min(frames, (task + 1) * block) * heads):
            frame, head = row // heads, row % heads
            at, gate_at = frame * x_frame + head * x_head, frame * gate_frame + head * gate_head
            squares = zeros(x)
            for i in range(0, size, one):
                v = load_some(x, at + i, size - i)
                squares = fma(v, v, squares)
            scale = splat(kind(1 / sqrt(total(squares) / size + eps)))
            for i in range(0, size, one):
                v = scale * load_some(x, at + i, size - i)
                if weighted:
                    v = v * load_some(weight, i, size - i)
                if gated:
                    g = load_some(gate, gate_at + i, size - i)
                    v = v * (g * sigmoid(x, g))
                store_some(y, row * size + i, v, size - i)
        task = claim(call)


@Kernel
def backward(call):
    """With n = x r and r = 1 / sqrt(mean(x^2) + eps):

        dn = dy silu(gate) weight,    dx = r (dn - n mean(dn n))
        dweight = sum over the rows of dy silu(gate) n,    dgate = dy n weight silu'(gate)

    The sums of dweight over tasks are left to the caller."""
    x, weight, gate, dy, dx, d_weight, d_gate = arrays(call, 7)
    frames, heads, size, block, weighted, gated = numbers(call, 7, 6)
    x_frame, x_head, gate_frame, gate_head = numbers(call, 13, 4)
    eps, one, kind = real(call, 17), lanes(x), x.dtype.type
    unit = splat(kind(1))
    task = claim(call)
    while task * block < frames:
        if weighted:
            for i in range(0, size, one):
                store_some(d_weight, task * size + i, zeros(x), size - i)
        for row in range(task * block * heads, min(frames, (task + 1) * block) * heads):
            frame, head = row // heads, row % heads
            at, gate_at, out = frame * x_frame + head * x_head, frame * gate_frame + head * gate_head, row * size
            squares, products = zeros(x), zeros(x)
            for i in range(0, size, one):
                v, dn = load_some(x, at + i, size - i), load_some(dy, out + i, size - i)
                if gated:
                    g = load_some(gate, gate_at + i, size - i)
                    dn = dn * (g * sigmoid(x, g))
                if weighted:
                    dn = dn * load_some(weight, i, size - i)
                store_some(dx, out + i, dn, size - i)
                squares, products = fma(v, v, squares), fma(v, dn, products)
            r = 1 / sqrt(total(squares) / size + eps)
            scale, common = splat(kind(r)), splat(kind(total(products) * r * r * r / size))
            for i in range(0, size, one):
                v, d = load_some(x, at + i, size - i), load_some(dy, out + i, size - i)
                store_some(dx, out + i, scale * load_some(dx, out + i, size - i) - common * v, size - i)
                n = scale * v
                h = n
                if weighted:
                    h = n * load_some(weight, i, size - i)
                if gated:
                    g = load_some(gate, gate_at + i, size - i)
                    s = sigmoid(x, g)
                    store_some(d_gate, out + i, d * h * s * fma(g, unit - s, unit), size - i)
                    d = d * (g * s)
                if weighted:
                    so_far = load_some(d_weight, task * size + i, size - i)
                    store_some(d_weight, task * size + i, fma(d, n, so_far), size - i)
        task = claim(call)
