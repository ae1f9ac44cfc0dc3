"""Group norm with what stands before and behind it: the kernels against the definition, and against the formula."""

import pytest
import torch

from lamina import ops
from lamina.core.check.policy import tolerance
from lamina.ops._group_norm import GROUP_NORM, native

# shape of x, groups, with a shift, through silu
CASES = [
    ((2, 5, 7, 20), 5, True, True),
    ((2, 8, 8, 32), 8, True, True),
    ((3, 4, 4, 96), 8, False, True),
    ((2, 16, 40), 8, True, False),
    ((1, 2, 1, 6), 3, False, False),
    ((2, 9, 1), 1, True, True),
    ((2, 3, 64), 64, False, True),
]


def _inputs(shape, shifted, seed=0):
    g = torch.Generator().manual_seed(seed)
    wanted = [shape, shape[-1:], shape[-1:], *([(shape[0], shape[-1])] if shifted else [])]
    found = [torch.randn(s, generator=g, dtype=torch.float64) for s in wanted]
    found[0] = 3 + 2 * found[0]  # a mean that is not zero
    return found


def _run(inputs, groups, silu, impl, dtype):
    """The output and the gradients of a random loss."""
    used = [t.detach().to(dtype).requires_grad_() for t in inputs]
    y = ops.group_norm(*used, *[None] * (4 - len(used)), groups, 1e-5, silu, impl=impl)
    seed = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [y.detach(), *torch.autograd.grad(y, used, seed.to(dtype))]


@pytest.mark.parametrize(("shape", "groups", "shifted", "silu"), CASES)
def test_kernels_equal_the_definition(shape, groups, shifted, silu):
    inputs = _inputs(shape, shifted)
    truth = _run(inputs, groups, silu, "ref", torch.float64)
    narrow, ref = (_run(inputs, groups, silu, impl, torch.float32) for impl in ("numba", "ref"))
    largest = max(float(t.abs().max()) for t in truth[1:])  # a sum that cancels has the rounding of its summands
    for i, (got, own, wanted) in enumerate(zip(narrow, ref, truth, strict=True)):
        allowed = tolerance(wanted, own, torch.float32, largest=largest if i else 0.0)
        assert float((got - wanted).abs().max()) <= allowed, i
    for got, wanted in zip(_run(inputs, groups, silu, "numba", torch.float64), truth, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-11)
    with torch.no_grad():  # a way without an operator, and the same call again
        for _ in range(2):
            plain = [t.float() for t in inputs]
            y = ops.group_norm(*plain, *[None] * (4 - len(plain)), groups, 1e-5, silu, impl="numba")
            assert torch.equal(y, narrow[0])


@torch.no_grad()
def test_it_is_its_formula():
    x, weight, bias, shift = _inputs((2, 6, 12), True)
    y = ops.group_norm(x, weight, bias, shift, 3, 0.1, True, impl="numba")
    for b in range(2):
        for group in range(3):
            part = slice(4 * group, 4 * group + 4)
            z = x[b, :, part] + shift[b, part]
            v = (z - z.mean()) / (z.var(unbiased=False) + 0.1).sqrt() * weight[part] + bias[part]
            torch.testing.assert_close(y[b, :, part], v / (1 + (-v).exp()), rtol=1e-12, atol=1e-12)


def test_gradients_by_differences():
    inputs = [t.requires_grad_() for t in _inputs((2, 3, 4), True)]
    run = lambda *t: ops.group_norm(*t, 2, 1e-3, True, impl="numba")  # noqa: E731
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


def test_views_and_threads_change_no_bit():
    inputs = _inputs((3, 6, 6, 32), True)
    want = _run(inputs, 8, True, "numba", torch.float32)
    turned = [inputs[0].movedim(-1, 1).contiguous().movedim(1, -1), *inputs[1:]]  # channels first in memory
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found = _run(turned, 8, True, "numba", torch.float32)
            assert all(torch.equal(a, b) for a, b in zip(found, want, strict=True))
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def test_a_mean_far_from_zero_costs_no_digits():
    """Sums of squares about zero would cancel: 1000^2 against a variance of 1."""
    x = 1000 + torch.randn(1, 4096, 16, generator=torch.Generator().manual_seed(0))
    one, zero = torch.ones(16), torch.zeros(16)
    truth = ops.group_norm(x.double(), one.double(), zero.double(), None, 4, 1e-5, impl="ref")
    got, own = (ops.group_norm(x, one, zero, None, 4, 1e-5, impl=impl) for impl in ("numba", "ref"))
    assert float((got - truth).abs().max()) <= tolerance(truth, own, torch.float32)


def test_operators_hold_pytorchs_rules():
    inputs = [t.float().requires_grad_() for t in _inputs((2, 3, 2, 8), True)]
    torch.library.opcheck(native._operator, (*inputs, 2, 1e-5, True))


def test_what_does_not_fit_is_refused():
    x, weight, bias, shift = (t.float() for t in _inputs((2, 1, 1, 8), True))
    assert GROUP_NORM.explain(x, weight, bias, shift)["numba"].startswith("an image of one place")
    assert ops.group_norm(x, weight, bias, shift, 2).shape == x.shape
    with pytest.raises(ValueError, match="8 channels make no 3 groups"):
        ops.group_norm(x, weight, bias, shift, 3)
    with pytest.raises(ValueError, match=r"shift of shape \[1, 8\] does not fit \[B=2,C=8\]"):
        ops.group_norm(x, weight, bias, shift[:1], 2)
