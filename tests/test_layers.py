"""Layers against independent implementations: torch's modules, and the formula written another way."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lamina import Seq, run_steps
from lamina.layers import (
    GRU,
    LSTM,
    MIXERS,
    BatchNorm,
    ChunkAttention,
    Conv,
    Dropout,
    Embedding,
    LayerNorm,
    RMSNorm,
    SwiGLU,
    WindowAttention,
)


def assert_near(got, want, atol=1e-6):
    torch.testing.assert_close(got, want, rtol=0, atol=atol)


@pytest.mark.parametrize(("kernel", "stride", "right"), [(3, 1, 0), (5, 1, 2), (4, 2, 0), (5, 2, 4), (3, 3, 1)])
def test_conv_equals_torch_on_each_row_alone(kernel, stride, right):
    layer = Conv(4, 6, kernel, stride, right)
    x = Seq.ragged(torch.randn(3, 13, 4), torch.tensor([13, 8, 1]))
    y = layer(x)
    for row, n in enumerate([13, 8, 1]):
        frames = -(-n // stride)
        reach = (frames - 1) * stride + kernel - (kernel - 1 - right)
        alone = F.pad(x.values[row, :n].t()[None], (kernel - 1 - right, max(0, reach - n)))
        want = F.conv1d(alone, layer.conv.weight, layer.conv.bias, stride)[0].t()[:frames]
        assert int(y.mask[row].sum()) == frames
        assert_near(y.values[row, :frames], want)


def test_conv_valid_equals_torch_without_padding():
    layer = Conv(4, 6, 4, 2, edge="valid")
    x = Seq.ragged(torch.randn(2, 11, 4), torch.tensor([11, 3]))
    y = layer(x)
    assert_near(y.values[0], layer.conv(x.values[:1].transpose(1, 2))[0].t())
    assert y.mask.sum(1).tolist() == [4, 0]  # three frames are fewer than the kernel


@pytest.mark.parametrize("lengths", [[9, 9], [9, 4]])
def test_batch_norm_equals_torch_on_the_real_frames(lengths):
    ours, theirs = BatchNorm(5), nn.BatchNorm1d(5)
    x = Seq.ragged(torch.randn(2, 9, 5) * 3 + 1, torch.tensor(lengths))
    y, want = ours(x), theirs(x.values[x.mask])
    assert_near(y.values[x.mask], want)
    assert_near(ours.running_mean, theirs.running_mean)
    assert_near(ours.running_var, theirs.running_var)
    ours.eval(), theirs.eval()
    assert_near(ours(x).values[x.mask], theirs(x.values[x.mask]))


def test_batch_norm_without_real_frames_keeps_its_running_values():
    norm = BatchNorm(3)
    y = norm(Seq.ragged(torch.full((2, 4, 3), float("nan")), torch.tensor([0, 0])))
    assert torch.isfinite(y.values).all()
    assert torch.equal(norm.running_mean, torch.zeros(3))
    assert torch.equal(norm.running_var, torch.ones(3))


def test_rms_norm_and_layer_norm_are_their_formulas():
    x = torch.randn(2, 3, 8, dtype=torch.float64)
    rms, layer = RMSNorm(8).double(), LayerNorm(8).double()
    assert_near(rms(Seq.of(x)).values, x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt(), 1e-12)
    deviation = x - x.mean(-1, keepdim=True)
    assert_near(layer(Seq.of(x)).values, deviation / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt(), 1e-12)


def test_swiglu_is_its_formula():
    layer = SwiGLU(4, 6)
    x = torch.randn(1, 2, 4)
    gate, value = (x @ layer.gate_value.weight.t()).split(6, -1)
    assert_near(layer(Seq.of(x)).values, (gate * torch.sigmoid(gate) * value) @ layer.out.weight.t())


def test_window_attention_equals_masked_multihead_attention():
    """Without rotary positions it is torch's own multi-head attention under a band mask."""
    layer, peer = WindowAttention(8, 2, left=4, right=1, rotary=False), nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        peer.in_proj_weight.copy_(layer.qkv.weight)
        peer.in_proj_bias.copy_(layer.qkv.bias)
        peer.out_proj.load_state_dict(layer.out.state_dict())
    x = torch.randn(2, 12, 8)
    i, j = torch.arange(12)[:, None], torch.arange(12)
    assert_near(layer(Seq.of(x)).values, peer(x, x, x, attn_mask=(j < i - 4) | (j > i + 1), need_weights=False)[0])


def test_chunk_attention_equals_masked_multihead_attention():
    layer, peer = ChunkAttention(8, 2, chunk=4, left=3, rotary=False), nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        peer.in_proj_weight.copy_(layer.qkv.weight)
        peer.in_proj_bias.copy_(layer.qkv.bias)
        peer.out_proj.load_state_dict(layer.out.state_dict())
    x = torch.randn(2, 10, 8)
    i, j = torch.arange(10)[:, None], torch.arange(10)
    start = i // 4 * 4
    assert_near(
        layer(Seq.of(x)).values, peer(x, x, x, attn_mask=(j < start - 3) | (j >= start + 4), need_weights=False)[0]
    )


def test_rotary_attention_knows_distance_not_place():
    layer = WindowAttention(8, 2, left=20)
    frame = torch.randn(1, 1, 8).expand(1, 12, 8)
    x = Seq.of(torch.cat([torch.randn(1, 1, 8), frame, torch.randn(1, 1, 8)], 1))
    shifted = Seq.of(torch.cat([frame, x.values], 1))
    alone, behind = layer(x).values[:, :1], layer(shifted).values[:, 12:13]
    assert not torch.allclose(alone, behind, atol=1e-3)  # more past is seen
    bounded = WindowAttention(8, 2, left=3)
    assert_near(bounded(x).values[:, 8:], bounded(shifted).values[:, 20:])


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_long_prefill_equals_single_steps(kind):
    layer = kind(4, 5)
    x = Seq.of(torch.randn(2, 40, 4))
    y, state = layer.step(x, layer.init_state(2))
    single = run_steps(layer, x)
    assert_near(y.values, single.values)
    _, after = layer.step(Seq.of(torch.randn(2, 3, 4)), state)
    assert {k: v.shape for k, v in after.items()} == {k: v.shape for k, v in state.items()}


def test_embedding_ignores_tokens_out_of_range_where_absent():
    layer = Embedding(7, 3)
    x = Seq(torch.tensor([[1, 6, -(2**31)]]), torch.tensor([[True, True, False]]))
    assert_near(layer(x).values[0, :2], layer.table.weight[[1, 6]])
    with pytest.raises(TypeError, match="token ids"):
        layer(Seq.of(torch.zeros(1, 2)))


def test_dropout_scales_in_training_and_never_in_step():
    layer = Dropout(4, 0.25)
    x = Seq.of(torch.ones(200, 50, 4))
    y = layer(x).values
    assert y.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert float(y.mean()) == pytest.approx(1, abs=0.01)
    assert torch.equal(layer.step(x, {})[0].values, x.values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WindowAttention(10, 4), "d_model=10 is not a multiple of n_heads=4"),
        (lambda: WindowAttention(12, 4), "is odd"),
        (lambda: WindowAttention(8, 2, left=3, right=None), "right=None"),
        (lambda: WindowAttention(8, 2, left=None, right=2), "needs a left"),
        (lambda: Conv(4, 4, 3, right=3), "right=3 must lie in 0..kernel-1=2"),
        (lambda: ChunkAttention(8, 2, chunk=0), "chunk=0 must be at least 1"),
        (lambda: Dropout(4, 1.0), "not in"),
    ],
)
def test_bad_arguments_say_what_and_why(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_mixers_keep_width_and_ratio():
    for name, mixer in MIXERS.items():
        layer = mixer.build(8, mixer.keys)
        y = layer(Seq.of(torch.randn(2, 9, 8)))
        assert y.values.shape == (2, 9, 8), name
        assert layer.stream_spec().ratio == 1, name
