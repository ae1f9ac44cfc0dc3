"""Attention over a cache of a given capacity, in each layer or once for all of them (YOCO)."""

import pytest
import torch
from torch import nn

import lamina
from lamina import Seq, ops, run_steps
from lamina.core import state
from lamina.layers import CausalAttention, CrossAttention, WindowAttention
from lamina.ops import window_rows


def assert_near(got, want, atol=1e-6):
    torch.testing.assert_close(got, want, rtol=0, atol=atol)


def band(frames, capacity):
    """What attention must not see: torch's mask for the last `capacity` frames and the frame itself."""
    i, j = torch.arange(frames)[:, None], torch.arange(frames)
    return (j > i) | (j < i - capacity)


@pytest.mark.parametrize("capacity", [3, 12, None])
def test_causal_attention_equals_masked_multihead_attention(capacity):
    layer, peer = CausalAttention(8, 2, capacity, rotary=False), nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        peer.in_proj_weight.copy_(layer.qkv.weight)
        peer.in_proj_bias.copy_(layer.qkv.bias)
        peer.out_proj.load_state_dict(layer.out.state_dict())
    x = torch.randn(2, 12, 8)
    want = peer(x, x, x, attn_mask=band(12, capacity or 12), need_weights=False)[0]
    assert_near(layer(Seq.of(x)).values, want)
    if capacity:
        assert_near(run_steps(layer, Seq.of(x), [1, 3, 2]).values, want)


def test_a_full_cache_forgets_its_oldest_frame_and_keeps_its_size():
    layer = CausalAttention(8, 2, capacity=300)
    x = Seq.of(torch.randn(1, 320, 8))
    begin = layer.init_state(1)
    y, new = layer.step(x, begin)
    assert_near(y.values, layer(x).values, 2e-6)
    single = run_steps(layer, x)
    assert_near(single.values, layer(x).values, 2e-6)
    assert state.nbytes(begin) == state.nbytes(new) == 300 * (2 * 8 * 4 + 1) + 8
    assert bool(new["mask"].all())
    assert new["t"].tolist() == [320]


def test_cross_attention_reads_the_memory_behind_its_own_frames():
    """Against torch's attention with keys and values given; zero positions, so that nothing is turned."""
    layer = CrossAttention(8, 2, capacity=20).double()
    x, k, v = torch.randn(3, 2, 9, 8, dtype=torch.float64)
    y, after = layer.step(Seq.of(x[:, -1:]), {"t": torch.zeros(2, dtype=torch.int64)}, Seq.of(torch.cat([k, v], -1)))
    q = (x[:, -1:] @ layer.query.weight.t()).unflatten(-1, (2, 4)).transpose(1, 2)
    keys, values = (a.unflatten(-1, (2, 4)).transpose(1, 2) for a in (k, v))
    want = nn.functional.scaled_dot_product_attention(q, keys, values).transpose(1, 2).flatten(2)
    assert_near(y.values, want @ layer.out.weight.t(), 1e-12)
    assert after["t"].tolist() == [1, 1]
    with pytest.raises(TypeError, match="reads a memory"):
        layer(Seq.of(x))


@pytest.mark.parametrize("self_decoder", ["gated_retention", "window_attention"])
def test_yocos_state_is_as_large_as_its_formula(self_decoder):
    capacity, width, heads, layers = 70, 16, 2, 5
    model = lamina.create(
        "yoco", self_decoder=self_decoder, d_model=width, n_heads=heads, n_layers=layers, capacity=capacity
    )
    lower, upper = layers // 2, layers - layers // 2
    shared = capacity * (2 * width * 4 + 1) + 8 + 8 * upper
    below = width * width // heads * 4 + 8 if self_decoder == "gated_retention" else 128 * (2 * width * 4 + 1) + 8
    begin = model.init_state(1)
    assert state.nbytes(begin["1"]) == shared
    assert state.nbytes(begin) == shared + lower * below
    _, after = model.step(Seq.of(torch.randn(1, 100, width)), begin)
    assert state.nbytes(after) == shared + lower * below
    # what a Transformer of as many layers keeps
    every = lamina.create("causal_attention", d_model=width, n_heads=heads, n_layers=layers, capacity=capacity)
    assert state.nbytes(every.init_state(1)) == layers * (capacity * (2 * width * 4 + 1) + 8)


@pytest.mark.parametrize("begun", [0, 4, 9])
def test_prefill_leaves_early_with_the_answer_and_the_state_of_the_full_run(begun):
    model = lamina.create("yoco", d_model=8, n_heads=2, n_layers=4, capacity=6).double()
    x = Seq.of(torch.randn(2, 20, 8, dtype=torch.float64))
    now = model.init_state(2)
    if begun:
        _, now = model.step(x.slice(0, begun), now)
    full, want = model.step(x.slice(begun, 20), now)
    last, got = model.prefill(x.slice(begun, 20), now)
    assert_near(last.values, full.values[:, -1:], 1e-14)
    assert_near(last.values, model(x).values[:, -1:], 1e-13)
    for name, tensor in state.flatten(want).items():
        assert_near(state.flatten(got)[name], tensor, 1e-14)


def test_prefill_answers_at_the_last_real_frame_of_each_row():
    model = lamina.create("yoco", d_model=8, n_heads=2, n_layers=4, capacity=6).double()
    lengths = [12, 5, 1, 0]
    x = Seq.ragged(torch.randn(4, 12, 8, dtype=torch.float64), torch.tensor(lengths))
    full, _ = model.step(x, model.init_state(4))
    last, new = model.prefill(x, model.init_state(4))
    assert last.mask[:, 0].tolist() == [True, True, True, False]
    for row, n in enumerate(lengths[:3]):
        assert_near(last.values[row, 0], full.values[row, n - 1], 1e-14)
    assert new["1"]["body"]["0"]["1"]["1"]["t"].tolist() == lengths


def test_yoco_says_what_it_needs_to_stream():
    model = lamina.create("yoco", capacity=None)
    with pytest.raises(lamina.NotStreamable, match=r"^1\.body\.0\.1\.1: .* give capacity=4096"):
        model.stream_spec()
    with pytest.raises(lamina.NotStreamable, match="capacity=4096"):
        lamina.create("causal_attention", capacity=None).init_state(1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CausalAttention(8, 2, capacity=0), "capacity=0 is a number of frames, or None"),
        (lambda: CrossAttention(8, 2, capacity=0), "capacity=0 is a number of frames, or None"),
        (lambda: CrossAttention(12, 4), "d_model=12 is not a multiple of 2\\*n_heads=8"),
        (lambda: lamina.create("yoco", d_model=12), "d_model/n_heads=3 is odd"),
        (
            lambda: lamina.create("yoco", self_decoder="lstm"),
            "unknown self_decoder 'lstm'; known: gated_retention",
        ),
        (lambda: lamina.create("yoco", left=4), "unknown key 'left'"),
        (lambda: lamina.create("yoco", n_layers=1), "n_layers=1: input should be greater than or equal to 2"),
    ],
)
def test_bad_arguments_say_what_and_why(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("right", [0, 2])
@pytest.mark.parametrize("frames", [1, 4, 8])
def test_a_short_step_copies_its_cache_once_and_gives_what_the_long_way_gives(right, frames, monkeypatch):
    layer = WindowAttention(16, 2, left=5, right=right).eval()
    x = Seq(torch.randn(2, 24, 16), torch.arange(24) >= torch.tensor([[3], [0]]))  # the first row begins late

    def told(short):
        if not short:
            monkeypatch.setattr(WindowAttention, "_short", lambda self, q, keys: False)
        parts, now = [], layer.init_state(2)
        for at in range(0, 24, frames):
            before = state.map_tensors(torch.clone, now)
            y, after = layer.step(x.slice(at, at + frames), now)
            assert all(torch.equal(now[name], before[name]) for name in now)
            parts, now = [*parts, y], after
        return Seq.cat(parts), now

    with torch.no_grad():
        calls = []
        monkeypatch.setattr(ops, "window_rows", lambda *given: calls.append(1) or window_rows(*given))
        (got, after), quick = told(True), len(calls)
        want, after_long = told(False)
    assert quick == len(calls) == 24 // frames
    assert torch.equal(got.mask, want.mask)
    assert_near(got.values[got.mask], want.values[want.mask])
    for name in after:
        torch.testing.assert_close(after[name], after_long[name], rtol=0, atol=1e-6)
