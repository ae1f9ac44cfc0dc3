"""Explicit vectors: the rest of a vector, and arrays on the stack."""

import pytest
import torch

from lamina import ops
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


def _tall(rows):
    """Calls whose tile, scores or states have that many rows: op, inputs."""
    one, heads = torch.ones(1, 1, 1), torch.ones(1, 1, 1, rows)
    caches, seen = torch.ones(2, 1, rows, 1, 1), torch.ones(1, rows + 1, dtype=torch.bool)
    return {
        "retention": (ops.retention, [heads, heads, one[None], -one]),
        "delta_rule": (ops.delta_rule, [heads / rows, heads / rows, one[None], one]),
        "selective_scan": (ops.selective_scan, [one, one, -heads[0, 0], heads[0], heads[0], one[0, 0]]),
        "window_rows": (ops.window_rows, [*[one[None]] * 3, seen, *caches, torch.tensor([0])]),
    }


@pytest.mark.parametrize(
    ("name", "most"),
    [("retention", 1024), ("delta_rule", 1024), ("selective_scan", 341), ("window_rows", (1 << 16) - 1)],
)
def test_what_has_no_room_on_a_stack_is_left_to_another_implementation(name, most):
    op, inputs = _tall(most)[name]
    held = [x.clone() for x in inputs]  # window_rows writes its caches over
    y = op(*inputs, impl="numba")
    wanted = op(*held, impl="ref")
    torch.testing.assert_close(y, wanted)
    op, inputs = _tall(most + 1)[name]
    with pytest.raises(ValueError, match="too large for a thread's stack"):
        op(*inputs, impl="numba")
    held = [x.clone() for x in inputs]
    torch.testing.assert_close(op(*inputs), op(*held, impl="ref"))
