"""The selective scan on a CPU: channels in vectors, the state in registers and the nearest cache.

A tile is WIDE vectors of channels of one row. The way back goes through the frames from last to first and needs every
state; it computes them again, CHUNK frames at a time, from states that the way forward has kept.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lamina.ops._native import BLOCK, CHUNK, WIDE
from lamina.ops._native.kernel import Kernel, arrays, claim, numbers, registers, scratch
from lamina.ops._native.simd import exp, fma, lanes, load, load_some, splat, store, store_some, total, zeros
from lamina.ops._native.tile import place

__all__ = ["backward", "brief", "forward"]


@njit
def _turn_in(there, at, count, n_state, tile, wide):
    """[channels, n_state] at `at` to a tile [n_state, wide], zeros beyond `count` channels."""
    for n in range(n_state):
        for c in range(wide):
            tile[n * wide + c] = there[at + c * n_state + n] if c < count else 0


@njit
def _turn_out(tile, there, at, count, n_state, wide):
    """A tile [n_state, wide] to [channels, n_state]."""
    for c in range(min(count, wide)):
        for n in range(n_state):
            there[at + c * n_state + n] = tile[n * wide + c]


@Kernel
def forward(call):
    """y and the last state; the state before every CHUNK frames where `kept` is set."""
    x, dt, A, B, C, D, begin, y, end, kept = arrays(call, 10)
    rows, frames, channels, n_state, keep = numbers(call, 10, 5)
    x_row, x_frame, dt_row, dt_frame, B_row, B_frame, C_row, C_frame = numbers(call, 15, 8)
    one = lanes(x)
    wide = WIDE * one
    tiles, chunks = (channels + wide - 1) // wide, (frames + CHUNK - 1) // CHUNK
    h, a = scratch(call, n_state * wide), scratch(call, n_state * wide)
    ds, us, ys = registers(call, 3)
    task = claim(call)
    while task < rows * tiles:
        _, row, _, first, count = place(task, tiles, 1, wide, channels)
        _turn_in(begin, (row * channels + first) * n_state, count, n_state, h, wide)
        _turn_in(A, first * n_state, count, n_state, a, wide)
        for t in range(frames):
            if keep and t % CHUNK == 0:
                at = (task * chunks + t // CHUNK) * n_state * wide
                for i in range(0, n_state * wide, one):
                    store(kept, at + i, load(h, i))
            x_at, dt_at = row * x_row + t * x_frame + first, row * dt_row + t * dt_frame + first
            for j in range(WIDE):
                i = j * one
                xj, dj = load_some(x, x_at + i, count - i), load_some(dt, dt_at + i, count - i)
                store(ds, i, dj)
                store(us, i, dj * xj)
                store(ys, i, load_some(D, first + i, count - i) * xj)
            for n in range(n_state):
                b, c = splat(B[row * B_row + t * B_frame + n]), splat(C[row * C_row + t * C_frame + n])
                for j in range(WIDE):
                    i, at = j * one, n * wide + j * one
                    new = fma(exp(load(ds, i) * load(a, at)), load(h, at), load(us, i) * b)
                    store(h, at, new)
                    store(ys, i, fma(c, new, load(ys, i)))
            for j in range(WIDE):
                i = j * one
                store_some(y, (row * frames + t) * channels + first + i, load(ys, i), count - i)
        _turn_out(h, end, (row * channels + first) * n_state, count, n_state, wide)
        task = claim(call)


@Kernel
def brief(call):
    """The same for very few frames: a channel's states are the vector, since turning the state around would take
    longer than the frames. A task is BLOCK channels of one row."""
    x, dt, A, B, C, D, begin, y, end, _ = arrays(call, 10)
    rows, frames, channels, n_state, _ = numbers(call, 10, 5)
    x_row, x_frame, dt_row, dt_frame, B_row, B_frame, C_row, C_frame = numbers(call, 15, 8)
    one = lanes(x)
    blocks = (channels + BLOCK - 1) // BLOCK
    task = claim(call)
    while task < rows * blocks:
        row, first = task // blocks, task % blocks * BLOCK
        for c in range(first, min(channels, first + BLOCK)):
            state_at = (row * channels + c) * n_state
            for t in range(frames):
                xc, dc = x[row * x_row + t * x_frame + c], dt[row * dt_row + t * dt_frame + c]
                found = zeros(x)
                for n in range(0, n_state, one):
                    count = n_state - n
                    h = load_some(begin if t == 0 else end, state_at + n, count)
                    write = splat(dc * xc) * load_some(B, row * B_row + t * B_frame + n, count)
                    h = fma(exp(splat(dc) * load_some(A, c * n_state + n, count)), h, write)
                    store_some(end, state_at + n, h, count)
                    found = fma(load_some(C, row * C_row + t * C_frame + n, count), h, found)
                y[(row * frames + t) * channels + c] = total(found) + D[c] * xc
        task = claim(call)


@njit
def _again(x, x_frame, dt, dt_frame, B, B_frame, a, states, decays, frames, n_state, count):
    """The states and decays of some frames, from the state before them at the head of `states`."""
    one = lanes(x)
    size = n_state * WIDE * one
    for t in range(frames):
        for j in range(WIDE):
            i = j * one
            d = load_some(dt, t * dt_frame + i, count - i)
            u = d * load_some(x, t * x_frame + i, count - i)
            for n in range(n_state):
                at = t * size + (n * WIDE + j) * one
                decay = exp(d * load(a, (n * WIDE + j) * one))
                store(decays, at, decay)
                store(states, at + size, fma(decay, load(states, at), u * splat(B[t * B_frame + n])))


@Kernel
def backward(call):
    """Gradients from those of y and of the last state. Sums over tiles and rows are left to the caller."""
    x, dt, A, B, C, D, kept, dy, d_end, dx, ddt, dA, dB, dC, dD, d_begin = arrays(call, 16)
    rows, frames, channels, n_state = numbers(call, 16, 4)
    x_row, x_frame, dt_row, dt_frame, B_row, B_frame, C_row, C_frame = numbers(call, 20, 8)
    one = lanes(x)
    wide = WIDE * one
    size = n_state * wide
    tiles, chunks = (channels + wide - 1) // wide, (frames + CHUNK - 1) // CHUNK
    g, a, ga = scratch(call, size), scratch(call, size), scratch(call, size)
    states, decays = np.empty((CHUNK + 1) * size, x.dtype), np.empty(CHUNK * size, x.dtype)  # too large for the stack
    ds, us, gys, gus, gds, gD = registers(call, 6)
    task = claim(call)
    while task < rows * tiles:
        _, row, _, first, count = place(task, tiles, 1, wide, channels)
        _turn_in(d_end, (row * channels + first) * n_state, count, n_state, g, wide)
        _turn_in(A, first * n_state, count, n_state, a, wide)
        for i in range(0, size, one):
            store(ga, i, zeros(x))
        for j in range(WIDE):
            store(gD, j * one, zeros(x))
        for chunk in range(chunks - 1, -1, -1):
            begin, stop = chunk * CHUNK, min(frames, chunk * CHUNK + CHUNK)
            for i in range(0, size, one):
                store(states, i, load(kept, (task * chunks + chunk) * size + i))
            xs, dts = x[row * x_row + begin * x_frame + first :], dt[row * dt_row + begin * dt_frame + first :]
            Bs = B[row * B_row + begin * B_frame :]
            _again(xs, x_frame, dts, dt_frame, Bs, B_frame, a, states, decays, stop - begin, n_state, count)
            for t in range(stop - 1, begin - 1, -1):
                x_at, dt_at = row * x_row + t * x_frame + first, row * dt_row + t * dt_frame + first
                out = (row * frames + t) * channels + first
                for j in range(WIDE):
                    i = j * one
                    xj, dj = load_some(x, x_at + i, count - i), load_some(dt, dt_at + i, count - i)
                    gy = load_some(dy, out + i, count - i)
                    store(ds, i, dj)
                    store(us, i, dj * xj)
                    store(gys, i, gy)
                    store(gD, i, fma(gy, xj, load(gD, i)))
                    store(gus, i, zeros(x))
                    store(gds, i, zeros(x))
                here = (t - begin) * size
                for n in range(n_state):
                    b, c = splat(B[row * B_row + t * B_frame + n]), splat(C[row * C_row + t * C_frame + n])
                    gb, gc = zeros(x), zeros(x)
                    for j in range(WIDE):
                        i, at = j * one, n * wide + j * one
                        gy, u = load(gys, i), load(us, i)
                        gh = fma(c, gy, load(g, at))  # of the state behind frame t
                        gc = fma(gy, load(states, here + size + at), gc)
                        gb = fma(gh, u, gb)
                        store(gus, i, fma(gh, b, load(gus, i)))
                        gh = gh * load(decays, here + at)
                        store(g, at, gh)
                        ge = gh * load(states, here + at)  # of the exponent dt A
                        store(ga, at, fma(ge, load(ds, i), load(ga, at)))
                        store(gds, i, fma(ge, load(a, at), load(gds, i)))
                    at = (task * frames + t) * n_state + n
                    dB[at], dC[at] = total(gb), total(gc)
                for j in range(WIDE):
                    i = j * one
                    xj = load_some(x, x_at + i, count - i)
                    gu, gy = load(gus, i), load(gys, i)
                    gx = fma(load(ds, i), gu, load_some(D, first + i, count - i) * gy)
                    store_some(dx, out + i, gx, count - i)
                    store_some(ddt, out + i, fma(xj, gu, load(gds, i)), count - i)
        _turn_out(ga, dA, (row * channels + first) * n_state, count, n_state, wide)
        _turn_out(g, d_begin, (row * channels + first) * n_state, count, n_state, wide)
        for j in range(WIDE):
            store_some(dD, row * channels + first + j * one, load(gD, j * one), count - j * one)
        task = claim(call)
