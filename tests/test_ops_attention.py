"""Attention, rotary positions and the short convolution against their formulas."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lamina import ops
from lamina.core.check.policy import difference, tolerance


def naive(q, k, v, mask, sees):
    """softmax over the real keys that `sees(i, j)` allows, one query after another; a query always sees key i."""
    y = torch.zeros_like(q)
    for row in range(len(q)):
        for i in range(q.shape[1]):
            keys = [j for j in range(k.shape[1]) if j == i or (sees(i, j) and bool(mask[row, j]))]
            scores = torch.einsum("hk,jhk->hj", q[row, i], k[row, keys]) / q.shape[-1] ** 0.5
            y[row, i] = torch.einsum("hj,jhk->hk", scores.softmax(-1), v[row, keys])
    return y


def inputs(frames=24, keys=None):
    q = torch.randn(2, frames, 2, 8, dtype=torch.float64)
    k, v = torch.randn(2, 2, keys or frames, 2, 8, dtype=torch.float64)
    mask = torch.ones(k.shape[:2], dtype=torch.bool)
    mask[1, -5:] = False
    return q, k, v, mask


@pytest.mark.parametrize(("left", "right"), [(5, 0), (3, 2), (0, 0), (40, 3), (None, 0), (40, 0)])
@pytest.mark.parametrize("frames", [1, 24, 100])
def test_window_equals_the_formula(left, right, frames):
    q, k, v, mask = inputs(frames)
    want = naive(q, k, v, mask, lambda i, j: (left is None or j >= i - left) and j <= i + right)
    got = ops.attention(q, k, v, mask, left=left, right=right)
    real = mask if right == 0 else torch.ones_like(mask)  # causal: padding is seen by nobody real
    torch.testing.assert_close(got[real], want[real], rtol=0, atol=1e-13)


@pytest.mark.parametrize(("chunk", "left"), [(4, 6), (8, 0), (7, 3), (40, 5)])
def test_chunks_equal_the_formula(chunk, left):
    q, k, v, mask = inputs()
    want = naive(q, k, v, mask, lambda i, j: i // chunk * chunk - left <= j < i // chunk * chunk + chunk)
    got = ops.attention(q, k, v, mask, left=left, chunk=chunk)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-13)


@pytest.mark.parametrize("form", [{"left": 6, "right": 0}, {"left": 6, "right": 2}, {"left": 6, "chunk": 4}])
@pytest.mark.parametrize("cut", [8, 20])
def test_keys_from_a_cache_equal_one_long_input(form, cut):
    q, k, v, mask = inputs(40)
    mask[:] = True
    want = ops.attention(q, k, v, mask, **form)[:, cut : cut + 8]
    behind = form.get("right", 0)
    keys = slice(cut - 6, cut + 8 + behind)
    got = ops.attention(q[:, cut : cut + 8], k[:, keys], v[:, keys], mask[:, keys], before=6, **form)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-13)


def test_a_long_cache_may_be_nearly_empty():
    q, k, v, mask = inputs(3, 403)
    mask[:, :390], mask[:, 390:] = False, True
    mask[1, :397] = False
    got = ops.attention(q, k, v, mask, before=400, left=400, right=0)
    for row, first in ((0, 390), (1, 397)):
        alone = k[row : row + 1, first:], v[row : row + 1, first:]
        want = ops.attention(q[row : row + 1], *alone, before=400 - first, left=400, right=0)
        torch.testing.assert_close(got[row : row + 1], want, rtol=0, atol=1e-13)


@pytest.mark.parametrize("frames", [3, 200])
def test_memory_is_seen_by_every_query_and_an_empty_one_gives_zeros(frames):
    q, k, v, mask = inputs(frames, 7)
    mask[1] = False
    got = ops.attention(q, k, v, mask)
    want = F.scaled_dot_product_attention(*(x[:1].transpose(1, 2) for x in (q, k, v))).transpose(1, 2)
    torch.testing.assert_close(got[:1], want, rtol=0, atol=1e-13)
    assert float(got[1].abs().max()) == 0


def test_rotation_is_a_complex_product():
    x = torch.randn(2, 5, 3, 8, dtype=torch.float64)
    positions = torch.tensor([[0, 1, 2, 3, 4], [7, 8, 9, 10, 11]])
    for closed, slowest in ((False, 10000.0**-0.75), (True, 1e-4)):
        rate = slowest ** (torch.arange(4, dtype=torch.float64) / 3)
        z = torch.complex(x[..., ::2].contiguous(), x[..., 1::2].contiguous())
        z = z * torch.exp(1j * positions[:, :, None, None] * rate)
        want = torch.stack([z.real, z.imag], -1).flatten(-2)
        torch.testing.assert_close(ops.rotate(x, positions, closed=closed), want, rtol=0, atol=1e-14)
    torch.testing.assert_close(ops.rotate(x)[0], ops.rotate(x, positions)[0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("position", [100_000, 10_000_000])
def test_rotation_in_float32_is_exact_far_out(position):
    x, at = torch.randn(1, 1, 4, 8), torch.tensor([[position]])
    assert float((ops.rotate(x, at) - ops.rotate(x.double(), at)).abs().max()) < 1e-6


def test_rotation_traces_to_the_same_numbers():
    wide = torch.randn(2, 5, 25)
    x, at = wide[..., :24].unflatten(-1, (3, 8)), torch.arange(5)[None]  # rows of odd length: pairs straddle
    traced = torch.export.export(_Rotates(), (x, at)).module()
    torch.testing.assert_close(traced(x, at), ops.rotate(x, at), rtol=0, atol=1e-6)
    torch.testing.assert_close(torch.func.vmap(lambda y: ops.rotate(y[None])[0])(x), ops.rotate(x), rtol=0, atol=1e-6)


class _Rotates(torch.nn.Module):
    def forward(self, x, positions):
        return ops.rotate(x, positions)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("impl", ["numba", "aten", "ref"])
def test_short_convolution_equals_conv1d(impl, bias):
    peer = torch.nn.Conv1d(6, 6, 4, groups=6, bias=bias)
    x = torch.randn(3, 40, 6)
    want = peer(F.pad(x.transpose(1, 2), (3, 0))).transpose(1, 2)
    got, state = ops.short_conv(x, peer.weight[:, 0], peer.bias, impl=impl)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)
    assert torch.equal(state, x[:, -3:])
    first, state = ops.short_conv(x[:, :23], peer.weight[:, 0], peer.bias, impl=impl)
    last, _ = ops.short_conv(x[:, 23:], peer.weight[:, 0], peer.bias, None, state, impl=impl)
    torch.testing.assert_close(torch.cat([first, last], 1), want, rtol=0, atol=1e-6)


def test_short_convolution_gradients():
    x, weight, bias = torch.randn(2, 20, 3), torch.randn(3, 4), torch.randn(3)
    found = []
    for impl in ("numba", "aten", "ref"):
        given = [t.clone().requires_grad_() for t in (x, weight, bias)]
        y, _ = ops.short_conv(*given, impl=impl)
        found.append(torch.autograd.grad((y * y.detach().cos()).sum(), given))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=2e-5)
    state = torch.randn(2, 3, 3)
    wide = [t.double().requires_grad_() for t in (x[:, :9], weight, bias, state)]
    for impl in ("numba", "ref"):
        assert torch.autograd.gradcheck(lambda x, w, b, s, i=impl: ops.short_conv(x, w, b, None, s, impl=i), wide)
    small = [t.double().requires_grad_() for t in (x[:1, :3], weight, bias, state[:1])]
    assert torch.autograd.gradgradcheck(lambda x, w, b, s: ops.short_conv(x, w, b, None, s, impl="numba"), small)


SIZES = [(1, 1, 1), (2, 17, 4), (7, 33, 31), (40, 16, 9), (50, 3, 1), (150, 34, 6), (64, 16, 4), (130, 16, 70)]


@pytest.mark.parametrize(("frames", "channels", "kernel"), SIZES)
def test_short_convolution_of_any_size(frames, channels, kernel):
    wide = torch.randn(2, frames + 2, channels + 5, dtype=torch.float64)[:, 1:-1, 2:-3]  # rows of a larger tensor
    given = [wide, torch.randn(channels, kernel), torch.randn(channels), torch.randn(2, kernel - 1, channels)]
    given = [t.double().requires_grad_() for t in given]
    found = []
    for impl in ("ref", "numba"):
        y, end = ops.short_conv(*given[:3], None, given[3], impl=impl)
        loss = (y * y.detach().cos()).sum() + (end * end.detach().sin()).sum()
        found.append([y, end, *torch.autograd.grad(loss, given)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)
    with torch.no_grad():
        assert torch.equal(ops.short_conv(*given[:3], None, given[3], impl="numba")[0], found[1][0])


def test_short_convolution_keeps_the_last_real_frames():
    x, state = torch.randn(4, 5, 2), torch.randn(4, 3, 2)
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[0, 2:], mask[1], mask[3, :2] = False, False, False
    state[3] = 0  # a stream that starts late has seen nothing
    x = torch.where(mask[..., None], x, 0)
    _, new = ops.short_conv(x, torch.randn(2, 4), None, mask, state)
    assert torch.equal(new[0], torch.cat([state[0], x[0, :2]])[-3:])
    assert torch.equal(new[1], state[1])
    assert torch.equal(new[2], x[2, 2:])
    assert torch.equal(new[3], x[3, 2:])


def test_short_convolution_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"short_conv: weight of shape \[5, 4\] does not fit \[C=6,kernel"):
        ops.short_conv(torch.randn(1, 2, 6), torch.randn(5, 4))
    with pytest.raises(ValueError, match="a state of 2 frames does not fit 4 taps, which need 3"):
        ops.short_conv(torch.randn(1, 2, 6), torch.randn(6, 4), None, None, torch.randn(1, 2, 6))


@pytest.mark.parametrize(
    ("keys", "before"),
    [({}, 0), ({"left": 3, "right": 0}, 0), ({"left": 3, "right": 2}, 0), ({"left": 40, "right": 0}, 4),
     ({"chunk": 4, "left": 3}, 0), ({"chunk": 4, "left": 3}, 3)],
)  # fmt: skip
@pytest.mark.parametrize("grad", [False, True])
def test_relative_scores_are_the_formula(keys, before, grad):
    """((q_i + u) . k_j + (q_i + v) . r_{i-j}) / sqrt(K), every pair by itself; blocks of queries change nothing."""
    frames, heads, width = 75, 2, 3
    q = torch.randn(2, frames, heads, width, dtype=torch.float64)
    k, v = (torch.randn(2, before + frames, heads, width, dtype=torch.float64) for _ in range(2))
    mask = torch.rand(2, before + frames) < 0.9
    table = torch.randn(400, heads, width, dtype=torch.float64, requires_grad=grad)
    u, w = torch.randn(2, heads, width, dtype=torch.float64)
    relative = ops.Relative(u, w, lambda far, near: table[200 + near : 201 + far].flip(0))
    got = ops.attention(q, k, v, mask, before=before, relative=relative, **keys)
    left, right, chunk = keys.get("left", 10**6), keys.get("right", 10**6), keys.get("chunk")
    for i in range(frames):
        first, last = i + before - left, i + before + right
        if chunk:
            begin = before + i // chunk * chunk
            first, last = begin - left, begin + chunk - 1
        at = range(max(0, first), min(last + 1, before + frames))
        for b in range(2):
            seen = [j for j in at if mask[b, j] or j == i + before]
            distance = table[torch.tensor([200 + i + before - j for j in seen])]
            scores = ((q[b, i] + u) * k[b, seen] + (q[b, i] + w) * distance).sum(-1) / width**0.5  # [S,H]
            want = torch.einsum("sh,shk->hk", scores.softmax(0), v[b, seen])
            torch.testing.assert_close(got[b, i], want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 1, 4, 28, 20), (2, 5, 2, 16, 7), (2, 9, 2, 6, 4), (4, 1, 1, 32, 1)], ids=str)
def test_rows_of_a_cache_are_attended_to_and_written_in_place(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """The kernel against attention to a cache and the new frames joined; rows that hold NaN are not looked at."""
    count, frames, heads, width, kept = shape
    g = torch.Generator().manual_seed(sum(shape))
    rows = torch.randperm(6, generator=g)[:count]
    q, k, v = (torch.randn(count, frames, heads, width, generator=g, dtype=dtype) for _ in range(3))
    allowed = torch.ones(count, kept + frames, dtype=torch.bool)
    allowed[0, : kept // 2] = False
    caches = []
    for _ in range(2):
        cache = torch.full((6, kept, heads, width), torch.nan, dtype=dtype)
        cache[rows] = torch.randn(count, kept, heads, width, generator=g, dtype=dtype)
        cache[rows[0], : kept // 2] = 0
        caches.append(cache)
    wanted, wanted_caches = _definition(q, k, v, allowed, caches, rows)
    truth, _ = _definition(*(t.double() for t in (q, k, v)), allowed, [c.double() for c in caches], rows)
    got = ops.window_rows(q, k, v, allowed, *caches, rows, impl="numba")
    assert float(difference(got, truth).max()) <= tolerance(truth, wanted, dtype)
    for mine, theirs in zip(caches, wanted_caches, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)


def _definition(
    q: Tensor, k: Tensor, v: Tensor, allowed: Tensor, caches: list[Tensor], rows: Tensor
) -> tuple[Tensor, list[Tensor]]:
    own = [cache.clone() for cache in caches]
    return ops.window_rows(q, k, v, allowed, *own, rows, impl="ref"), own


def test_rows_and_masks_may_lie_in_memory_as_they_like() -> None:
    q, k, v = torch.randn(3, 3, 2, 2, 8)
    caches = list(torch.randn(2, 8, 5, 2, 8))
    rows, allowed = torch.arange(8)[::2][:3], (torch.rand(7, 3) < 0.7).T
    allowed[:, 5:] = True  # what an absent frame sees is undefined
    wanted, wanted_caches = _definition(q, k, v, allowed, caches, rows)
    torch.testing.assert_close(ops.window_rows(q, k, v, allowed, *caches, rows, impl="numba"), wanted)
    assert all(torch.equal(a, b) for a, b in zip(caches, wanted_caches, strict=True))


@pytest.mark.parametrize("rows", [torch.tensor([0, 8]), torch.tensor([-1, 0]), torch.tensor([0, 1], dtype=torch.int32)])
def test_rows_that_are_not_there_are_refused(rows: Tensor) -> None:
    q, caches = torch.randn(2, 1, 2, 8), torch.randn(2, 8, 5, 2, 8)
    with pytest.raises(ValueError, match=r"rows must be int64 within 0\.\.7"):
        ops.window_rows(q, q, q, torch.ones(2, 6, dtype=torch.bool), *caches, rows)
