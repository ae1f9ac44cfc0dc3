"""Explicit vectors: the rest of a vector, and arrays on the stack."""

import pytest
import torch

from lamina.ops._native.kernel import Kernel, arrays, claim, numbers, scratch
from lamina.ops._native.simd import lanes, load, load_some, splat, store, store_some


@Kernel
def _ends(call):
    """y[3 : 3 + count] = x[5 : 5 + count] + 1, a whole vector of what load_some gave, and how wide that is."""
    x, y, whole = arrays(call, 3)
    (count,) = numbers(call, 3, 1)
    if claim(call) == 0:
        found = load_some(x, 5, count)
        store(whole, 0, found)
        whole[lanes(x)] = lanes(x)
        store_some(y, 3, found + splat(x.dtype.type(1)), count)


@Kernel
def _apart(call):
    """y = 2 x by way of two arrays on the stack, of a size that is known when it runs."""
    x, y = arrays(call, 2)
    (size,) = numbers(call, 2, 1)
    first, second = scratch(call, size), scratch(call, size)
    task = claim(call)
    while task == 0:
        for i in range(size):
            first[i], second[i] = x[i], -x[i]
        for i in range(0, size, lanes(x)):
            store_some(y, i, load(first, i) - load(second, i), size - i)
        task = claim(call)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [*range(9), 15, 16, 17])
def test_the_rest_of_a_vector_is_read_and_written_and_nothing_beyond(dtype, count):
    wide = 64 // torch.finfo(dtype).bits * 8
    x, y, whole = (torch.full((64,), torch.nan, dtype=dtype) for _ in range(3))
    x[5 : 5 + min(count, wide)] = torch.arange(min(count, wide), dtype=dtype)
    _ends([x, y, whole], [count], tasks=1, work=1)
    mine = min(count, wide)
    assert whole[wide] == wide
    assert whole[:wide].tolist() == [*range(mine), *[0.0] * (wide - mine)]
    assert y[3 : 3 + mine].tolist() == [i + 1.0 for i in range(mine)]
    assert y[:3].isnan().all()
    assert y[3 + mine :].isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [16, 48, 4096])
def test_arrays_on_the_stack_are_apart(dtype, size):
    x = torch.randn(size, dtype=dtype)
    y = torch.zeros(size, dtype=dtype)
    _apart([x, y], [size], tasks=1, work=1)
    assert torch.equal(y, 2 * x)
