"""Rows one behind the other: the numbers and gradients of the padded batch, without its padding."""

import pytest
import torch

from lamina import Residual, Seq, Serial, taps
from lamina.core import Packed, Reverse
from lamina.layers import (
    CausalAttention,
    ChunkAttention,
    Conv,
    FeedForward,
    LayerNorm,
    MemoryAttention,
    Unpadded,
    WindowAttention,
)

LENGTHS = [9, 0, 4, 1, 4, 9]
ATTENTION = {
    "all": lambda: WindowAttention(8, 2, left=None, right=None),
    "no positions": lambda: WindowAttention(8, 2, left=None, right=None, rotary=False),
    "window": lambda: WindowAttention(8, 2, left=2, right=1),
    "causal": lambda: CausalAttention(8, 2, capacity=3),
    "chunk": lambda: ChunkAttention(8, 2, chunk=3, left=2),
}


def _ragged():
    return Seq.ragged(torch.randn(6, 9, 8, dtype=torch.float64).requires_grad_(), torch.tensor(LENGTHS))


@pytest.mark.parametrize("name", ATTENTION)
def test_equals_the_padded_batch(name):
    body = Serial(Residual(LayerNorm(8), ATTENTION[name]()), Residual(FeedForward(8, 12)))
    layer, x = Unpadded(body).double(), _ragged()
    y, want = layer(x), body(x)
    assert torch.equal(y.mask, x.mask)
    torch.testing.assert_close(y.zeroed(), want.zeroed(), rtol=0, atol=1e-13)
    assert not y.values[~x.mask].any()
    wanted = (x.values, *layer.parameters())
    for got, truth in zip(
        *(torch.autograd.grad(out.zeroed().square().sum(), wanted) for out in (y, want)), strict=True
    ):
        torch.testing.assert_close(got, truth, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dense", [False, True])
def test_a_decoder_equals_the_padded_batch(dense):
    body = Serial(Residual(LayerNorm(8), CausalAttention(8, 2, capacity=4)), Residual(MemoryAttention(8, 2, 6)))
    layer, x = Unpadded(body).double(), _ragged()
    source = torch.randn(6, 7, 6, dtype=torch.float64).requires_grad_()
    memory = Seq.of(source) if dense else Seq.ragged(source, torch.tensor([3, 7, 0, 5, 0, 3]))  # other lengths than x
    y, want = layer(x, memory), body(x, memory)
    torch.testing.assert_close(y.zeroed(), want.zeroed(), rtol=0, atol=1e-13)
    wanted = (x.values, source, *layer.parameters())
    for got, truth in zip(
        *(torch.autograd.grad(out.zeroed().square().sum(), wanted) for out in (y, want)), strict=True
    ):
        torch.testing.assert_close(got, truth, rtol=0, atol=1e-12)


def test_of_a_memory_too_only_real_frames_are_computed():
    seen = []
    layer = Unpadded(MemoryAttention(8, 2, 6))
    layer.body.kv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    layer(
        _ragged().with_values(torch.randn(6, 9, 8)), Seq.ragged(torch.randn(6, 7, 6), torch.tensor([3, 7, 0, 5, 0, 3]))
    )
    assert seen == [(1, 18, 6)]


def test_rows_of_a_held_batch_are_stepped_where_they_are():
    layer = Unpadded(WindowAttention(8, 2, left=5)).eval()
    held, x, rows = layer.init_state(6), torch.randn(2, 1, 8), torch.tensor([4, 1])
    addresses = [held["body"][name].data_ptr() for name in ("k", "v")]
    want, new = layer.step(Seq.of(x), {"body": {name: t[rows] for name, t in held["body"].items()}})
    y = layer.step_rows(Seq.of(x), held, rows)
    torch.testing.assert_close(y.values, want.values)
    torch.testing.assert_close(held["body"]["k"][rows], new["body"]["k"])
    assert [held["body"][name].data_ptr() for name in ("k", "v")] == addresses
    assert not held["body"]["k"][[0, 2, 3, 5]].any()


def test_only_real_frames_are_computed():
    seen = []
    layer = Unpadded(FeedForward(8, 12))
    layer.body.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    layer(Seq.ragged(torch.randn(6, 9, 8), torch.tensor(LENGTHS)))
    assert seen[0].values.shape == (1, sum(LENGTHS), 8)
    assert seen[0].rows == tuple(sorted(LENGTHS))
    layer(Seq.of(torch.randn(2, 5, 8)))
    assert seen[1].values.shape == (2, 5, 8)
    assert not isinstance(seen[1], Packed)


def test_taps_give_rows_of_their_own():
    layer, x = Unpadded(Serial(FeedForward(8, 12), LayerNorm(8))).double(), _ragged()
    with taps(layer, ["body.0"]) as seen:
        layer(x)
    assert seen["body.0"].values.shape == (6, 9, 8)
    first = next(layer.body.children())
    torch.testing.assert_close(seen["body.0"].zeroed(), first(x).zeroed(), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda: Serial(LayerNorm(8), Conv(8, 8, 3)), "body.1: Conv sees several frames"),
        (lambda: Residual(WindowAttention(8, 2, short_conv=3)), "body.1: attention with a short convolution"),
        (lambda: Reverse(8), "body: Reverse sees several frames"),
    ],
)
def test_what_sees_the_row_before_is_refused(body, message):
    with pytest.raises(ValueError, match="Unpadded") as error:
        Unpadded(body())
    assert message in str(error.value)
