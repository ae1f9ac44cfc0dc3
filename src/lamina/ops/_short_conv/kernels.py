"""The short convolution of a few frames: the window of past and new frames is read where it lies."""

from __future__ import annotations

from lamina.ops._native.kernel import Kernel, arrays, claim, numbers

__all__ = ["slide"]


@Kernel
def slide(call):
    """A task is a stream."""
    x, weight, bias, begin, y, end = arrays(call, 6)
    batch, frames, channels, kernel, step, biased = numbers(call, 6, 6)
    past, none = kernel - 1, x.dtype.type(0)
    b = claim(call)
    while b < batch:
        for t in range(frames):
            for c in range(channels):
                total = bias[c] if biased else none
                for i in range(kernel):
                    at = t + i - past  # in x; negative: so far from the end of the past
                    v = begin[(b * past + past + at) * channels + c] if at < 0 else x[(b * frames + at) * step + c]
                    total += weight[c * kernel + i] * v
                y[(b * frames + t) * channels + c] = total
        for i in range(past):
            at = frames + i - past
            for c in range(channels):
                v = begin[(b * past + past + at) * channels + c] if at < 0 else x[(b * frames + at) * step + c]
                end[(b * past + i) * channels + c] = v
        b = claim(call)
