"""SwiGLU on a CPU: one pass forwards and one backwards, nothing kept but the inputs."""

from __future__ import annotations

from lamina.ops._native.kernel import Kernel, arrays, claim, numbers
from lamina.ops._native.simd import fma, lanes, load_some, sigmoid, splat, store_some

__all__ = ["backward", "forward"]


@Kernel
def forward(call):
    """A task is `block` frames."""
    gate, value, y = arrays(call, 3)
    frames, size, block, gate_step, value_step = numbers(call, 3, 5)
    one = lanes(y)
    task = claim(call)
    while task * block < frames:
        for frame in range(task * block, min(frames, (task + 1) * block)):
            for i in range(0, size, one):
                g = load_some(gate, frame * gate_step + i, size - i)
                v = load_some(value, frame * value_step + i, size - i)
                store_some(y, frame * size + i, g * sigmoid(y, g) * v, size - i)
        task = claim(call)


@Kernel
def backward(call):
    """dvalue = dy silu(g),    dgate = dy value silu'(g),    silu'(g) = s (1 + g (1 - s)),    s = sigmoid(g)."""
    gate, value, dy, d_gate, d_value = arrays(call, 5)
    frames, size, block, gate_step, value_step = numbers(call, 5, 5)
    one, unit = lanes(dy), splat(dy.dtype.type(1))
    task = claim(call)
    while task * block < frames:
        for frame in range(task * block, min(frames, (task + 1) * block)):
            for i in range(0, size, one):
                at = frame * size + i
                d = load_some(dy, at, size - i)
                g = load_some(gate, frame * gate_step + i, size - i)
                v = load_some(value, frame * value_step + i, size - i)
                s = sigmoid(dy, g)
                store_some(d_value, at, d * (g * s), size - i)
                store_some(d_gate, at, d * v * s * fma(g, unit - s, unit), size - i)
        task = claim(call)
