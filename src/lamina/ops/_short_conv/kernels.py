"""The depthwise convolution on a CPU: channels in vectors, four frames or four taps side by side in registers.

The window of past and new frames is read where it lies: the state's frames, then those of x.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lamina.ops._native import WIDE
from lamina.ops._native.kernel import Kernel, arrays, claim, numbers, registers
from lamina.ops._native.simd import fma, lanes, load, load_some, store, store_some, zeros

__all__ = ["backward", "forward"]


@njit(inline="always")
def _window(begin, begin_at, x, x_at, step, channels, past, frame, count):
    """A frame of the window: of the past, which has `past` of them, or of x."""
    if frame < past:
        return load_some(begin, begin_at + frame * channels, count)
    return load_some(x, x_at + (frame - past) * step, count)


@njit
def _turned(weight, channels, kernel, taps, wide):
    """[channels, kernel] as [kernel, wide], zeros beyond the channels."""
    for i in range(kernel):
        for c in range(wide):
            taps[i * wide + c] = weight[c * kernel + i] if c < channels else 0


@njit(inline="always")
def _four(taps, taps_at, wide, kernel, there, at, tap_step, step, sums):
    """WIDE frames side by side: sums_f += sum_i tap_i there[at + f * step + i * tap_step]."""
    one = lanes(taps)
    for i in range(kernel):
        w, here = load(taps, taps_at + i * wide), at + i * tap_step
        for f in range(WIDE):
            store(sums, f * one, fma(w, load(there, here + f * step), load(sums, f * one)))


@Kernel
def forward(call):
    """y and the window's last frames. A task is `block` frames of a stream."""
    x, weight, bias, begin, y, end = arrays(call, 6)
    batch, frames, channels, kernel, biased, x_row, x_frame, block = numbers(call, 6, 8)
    one, past = lanes(x), kernel - 1
    blocks, wide = (frames + block - 1) // block, (channels + one - 1) // one * one
    taps = np.empty(kernel * wide, x.dtype)
    _turned(weight, channels, kernel, taps, wide)
    (sums,) = registers(call, 1)
    task = claim(call)
    while task < batch * blocks:
        b, t = task // blocks, task % blocks * block
        stop = min(frames, t + block)
        while t < stop:
            many = WIDE if t + WIDE <= stop else 1
            for c in range(0, channels, one):
                count, out = channels - c, (b * frames + t) * channels + c
                x_at, begin_at = b * x_row + c, b * past * channels + c
                shift = load_some(bias, c, count) if biased else zeros(x)
                for f in range(WIDE):
                    store(sums, f * one, shift)
                if many == WIDE and t >= past and count >= one:
                    _four(taps, c, wide, kernel, x, x_at + (t - past) * x_frame, x_frame, x_frame, sums)
                    for f in range(WIDE):
                        store(y, out + f * channels, load(sums, f * one))
                else:
                    for f in range(many):
                        total = shift
                        for i in range(kernel):
                            v = _window(begin, begin_at, x, x_at, x_frame, channels, past, t + f + i, count)
                            total = fma(load(taps, i * wide + c), v, total)
                        store_some(y, out + f * channels, total, count)
            t += many
        if stop == frames:
            for i in range(past):
                for c in range(0, channels, one):
                    x_at, begin_at, count = b * x_row + c, b * past * channels + c, channels - c
                    v = _window(begin, begin_at, x, x_at, x_frame, channels, past, frames + i, count)
                    store_some(end, begin_at + i * channels, v, count)
        task = claim(call)


@Kernel
def backward(call):
    """With window_s = past and new frames one after another:

        dwindow_s = sum_i weight_i dy_{s-i}, and d_end at the window's last frames
        dweight_i = sum_t dy_t window_{t+i},    dbias = sum_t dy_t

    A task is `block` frames of a stream's window; the sums over tasks are left to the caller."""
    x, weight, begin, dy, d_end, dx, d_begin, d_weight, d_bias = arrays(call, 9)
    batch, frames, channels, kernel, x_row, x_frame, block = numbers(call, 9, 7)
    one, past = lanes(x), kernel - 1
    blocks, wide = (frames + past + block - 1) // block, (channels + one - 1) // one * one
    taps = np.empty(kernel * wide, x.dtype)
    _turned(weight, channels, kernel, taps, wide)
    (sums,) = registers(call, 1)
    task = claim(call)
    while task < batch * blocks:
        b, first = task // blocks, task % blocks * block
        s, stop = first, min(frames + past, first + block)
        while s < stop:
            inside = s >= past and s + WIDE <= frames and s + WIDE <= stop
            for c in range(0, channels, one):
                count, out = channels - c, b * frames * channels + c
                begin_at = b * past * channels + c
                if inside and count >= one:
                    for f in range(WIDE):
                        store(sums, f * one, zeros(x))
                    _four(taps, c, wide, kernel, dy, out + s * channels, -channels, channels, sums)
                    for f in range(WIDE):
                        store(dx, out + (s + f - past) * channels, load(sums, f * one))
                else:
                    for here in range(s, s + WIDE if inside else s + 1):
                        total = zeros(x)
                        if here >= frames:
                            total = load_some(d_end, begin_at + (here - frames) * channels, count)
                        for i in range(max(0, here - frames + 1), min(kernel, here + 1)):
                            d = load_some(dy, out + (here - i) * channels, count)
                            total = fma(load(taps, i * wide + c), d, total)
                        if here < past:
                            store_some(d_begin, begin_at + here * channels, total, count)
                        else:
                            store_some(dx, out + (here - past) * channels, total, count)
            s += WIDE if inside else 1
        last = min(frames, first + block)
        for c in range(0, channels, one):
            count, out = channels - c, b * frames * channels + c
            x_at, begin_at = b * x_row + c, b * past * channels + c
            for i in range(0, kernel, WIDE):
                for f in range(WIDE):
                    store(sums, f * one, zeros(x))
                for t in range(first, last):
                    d = load_some(dy, out + t * channels, count)
                    if t + i >= past and i + WIDE <= kernel and count >= one:
                        at = x_at + (t + i - past) * x_frame
                        for f in range(WIDE):
                            store(sums, f * one, fma(d, load(x, at + f * x_frame), load(sums, f * one)))
                    else:
                        for f in range(WIDE):
                            v = zeros(x)
                            if i + f < kernel:
                                v = _window(begin, begin_at, x, x_at, x_frame, channels, past, t + i + f, count)
                            store(sums, f * one, fma(d, v, load(sums, f * one)))
                for f in range(WIDE):
                    if i + f < kernel:
                        store_some(d_weight, (task * kernel + i + f) * channels + c, load(sums, f * one), count)
            total = zeros(x)
            for t in range(first, last):
                total = total + load_some(dy, out + t * channels, count)
            store_some(d_bias, task * channels + c, total, count)
        task = claim(call)
