"""Group norm on a CPU: places are rows of channels, and a task is one image's groups that fill whole vectors."""

from __future__ import annotations

from math import sqrt

from lamina.ops._native.kernel import Kernel, arrays, claim, numbers, real
from lamina.ops._native.simd import fma, lanes, load_some, sigmoid, splat, store_some, zeros

__all__ = ["backward", "forward"]

SOME = 8  # places whose mean is near the mean of all


@Kernel
def forward(call):
    """v = weight n + bias with n = r (x - (mean - shift)), r = 1 / sqrt(var + eps); y = v or v sigmoid(v).

    held gets each channel's r and mean - shift, in two rows an image `held_image` apart; before that its own mean and
    sum of squares. It may be y itself: a vector's rows are read before they are written. Sums are taken about p, the
    mean of some places:

        sum (x - mean)^2 = sum (x - p)^2 - (sum (x - p))^2 / places,    which cancels little, as p is near the mean.
    """
    x, weight, bias, shift, y, held = arrays(call, 6)
    images, places, channels, size, block, shifted, silu, held_image = numbers(call, 6, 8)
    eps, one, kind = real(call, 14), lanes(x), x.dtype.type
    blocks = -(-channels // block)
    task = claim(call)
    while task < images * blocks:
        image, first = task // blocks, task % blocks * block
        last, start = min(channels, first + block), image * places * channels
        one_row, other_row = image * held_image, image * held_image + channels
        for i in range(first, last, one):
            left = last - i
            pivot = zeros(x)
            for k in range(SOME):
                pivot = pivot + load_some(x, start + k * places // SOME * channels + i, left)
            pivot = pivot * splat(kind(1 / SOME))
            sum0, sum1, square0, square1 = zeros(x), zeros(x), zeros(x), zeros(x)
            for t in range(0, places - 1, 2):
                u = load_some(x, start + t * channels + i, left) - pivot
                v = load_some(x, start + (t + 1) * channels + i, left) - pivot
                sum0, sum1, square0, square1 = sum0 + u, sum1 + v, fma(u, u, square0), fma(v, v, square1)
            if places % 2:
                u = load_some(x, start + (places - 1) * channels + i, left) - pivot
                sum0, square0 = sum0 + u, fma(u, u, square0)
            apart = (sum0 + sum1) * splat(kind(1 / places))
            store_some(held, one_row + i, pivot + apart, left)
            store_some(held, other_row + i, square0 + square1 - (sum0 + sum1) * apart, left)
        for group in range(first, last, size):
            mean, square = 0.0, 0.0
            for c in range(group, group + size):
                mean += held[one_row + c]
                if shifted:
                    mean += shift[image * channels + c]
            mean /= size
            for c in range(group, group + size):
                beside = held[one_row + c] - mean
                if shifted:
                    beside += shift[image * channels + c]
                square += held[other_row + c] + places * beside * beside
            r = 1 / sqrt(square / (size * places) + eps)
            for c in range(group, group + size):
                own = mean
                if shifted:
                    own -= shift[image * channels + c]
                held[one_row + c], held[other_row + c] = kind(r), kind(own)
        for i in range(first, last, one):
            left = last - i
            r, centre = load_some(held, one_row + i, left), load_some(held, other_row + i, left)
            w, b = load_some(weight, i, left), load_some(bias, i, left)
            for t in range(places):
                at = start + t * channels + i
                v = fma(r * (load_some(x, at, left) - centre), w, b)
                if silu:
                    v = v * sigmoid(x, v)
                store_some(y, at, v, left)
        task = claim(call)


@Kernel
def backward(call):
    """dv = dy, or dy s (1 + v (1 - s)) with s = sigmoid(v);    dbias = sum dv,    dweight = sum dv n

        dx = r (weight dv - m - q n),    m, q = a group's mean of weight dv and of weight dv n,    dshift = sum dx

    held: the forward's r and mean - shift of each channel. dx holds dv in between, means each channel's r m and r q.
    The sums of dweight and dbias over images are left to the caller.
    """
    x, weight, bias, dy, held, dx, d_weight, d_bias, d_shift, means = arrays(call, 10)
    images, places, channels, size, block, silu = numbers(call, 10, 6)
    one, kind = lanes(x), x.dtype.type
    unit, blocks = splat(kind(1)), -(-channels // block)
    task = claim(call)
    while task < images * blocks:
        image, first = task // blocks, task % blocks * block
        last, start, own = min(channels, first + block), image * places * channels, image * channels
        one_row, other_row = 2 * own, 2 * own + channels
        for i in range(first, last, one):
            left = last - i
            r, centre = load_some(held, one_row + i, left), load_some(held, other_row + i, left)
            w, b = load_some(weight, i, left), load_some(bias, i, left)
            sum_d, sum_dn, sum_n = zeros(x), zeros(x), zeros(x)
            for t in range(places):
                at = start + t * channels + i
                n, d = r * (load_some(x, at, left) - centre), load_some(dy, at, left)
                if silu:
                    v = fma(n, w, b)
                    s = sigmoid(x, v)
                    d = d * s * fma(v, unit - s, unit)
                store_some(dx, at, d, left)
                sum_d, sum_dn, sum_n = sum_d + d, fma(d, n, sum_dn), sum_n + n
            store_some(d_bias, own + i, sum_d, left)
            store_some(d_weight, own + i, sum_dn, left)
            store_some(d_shift, own + i, sum_n, left)
        for group in range(first, last, size):
            m, q, r = 0.0, 0.0, float(held[one_row + group])
            for c in range(group, group + size):
                m += weight[c] * d_bias[own + c] / (size * places)
                q += weight[c] * d_weight[own + c] / (size * places)
            for c in range(group, group + size):
                d_shift[own + c] = kind(r * (weight[c] * d_bias[own + c] - m * places - q * d_shift[own + c]))
                means[one_row + c], means[other_row + c] = kind(r * m), kind(r * q)
        for i in range(first, last, one):
            left = last - i
            r, centre = load_some(held, one_row + i, left), load_some(held, other_row + i, left)
            m, q = load_some(means, one_row + i, left), load_some(means, other_row + i, left)
            rw = r * load_some(weight, i, left)
            for t in range(places):
                at = start + t * channels + i
                n = r * (load_some(x, at, left) - centre)
                store_some(dx, at, rw * load_some(dx, at, left) - m - q * n, left)
        task = claim(call)
