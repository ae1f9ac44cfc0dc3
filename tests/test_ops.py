"""The recurrences against PyTorch's own modules; the registry."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from lamina import ops
from lamina.ops import _recurrent
from lamina.ops._recurrent import aten, ref

PEERS = {"lstm": (nn.LSTM, 4, 4, 2), "gru": (nn.GRU, 3, 4, 1), "rnn": (nn.RNN, 1, 1, 1)}


def _case(name, frames=7, dtype=torch.float64):
    """A peer with random weights, and the same weights as lamina's ops take them."""
    kind, gates, biases, parts = PEERS[name]
    peer = kind(5, 6, batch_first=True, dtype=dtype)
    weight = torch.cat([peer.weight_ih_l0.t(), peer.weight_hh_l0.t()]).detach()
    b, c = peer.bias_ih_l0.detach(), peer.bias_hh_l0.detach()
    bias = torch.cat([b[:12] + c[:12], b[12:], c[12:]]) if name == "gru" else b + c
    assert weight.shape == (11, gates * 6)
    assert bias.shape == (biases * 6,)
    x = torch.randn(3, frames, 5, dtype=dtype)
    state = tuple(torch.randn(3, 6, dtype=dtype) for _ in range(parts))
    return peer, x, weight, bias, state


@pytest.mark.parametrize("impl", ["ref", "aten"])
@pytest.mark.parametrize("name", PEERS)
def test_recurrence_equals_torch(name, impl):
    peer, x, weight, bias, state = _case(name)
    first = tuple(s[None] for s in state)
    want, last = peer(x, first if name == "lstm" else first[0])
    got, new = getattr(ops, name)(x, weight, bias, None, state, impl=impl)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-14)
    for a, b in zip(new, last if name == "lstm" else (last,), strict=True):
        torch.testing.assert_close(a, b[0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", PEERS)
def test_recurrence_gradients(name):
    _, x, weight, bias, state = _case(name, frames=3)
    inputs = [t.requires_grad_() for t in (x, weight, bias, *state)]
    for impl in ("ref", "aten"):

        def run(x, weight, bias, *state, impl=impl):
            y, new = getattr(ops, name)(x, weight, bias, None, state, impl=impl)
            return (y, *new)

        assert torch.autograd.gradcheck(run, inputs)


@pytest.mark.parametrize("name", PEERS)
def test_absent_frames_leave_the_state_bit_equal(name):
    _, x, weight, bias, state = _case(name)
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[0, :4] = False  # late start
    mask[1, 2:] = False  # early end
    mask[2] = False
    _, new = getattr(ops, name)(x, weight, bias, mask, state)
    _, alone = getattr(ops, name)(x[:1, 4:], weight, bias, None, tuple(s[:1] for s in state), impl="ref")
    _, begun = getattr(ops, name)(x[1:2, :2], weight, bias, None, tuple(s[1:2] for s in state), impl="ref")
    for now, late, early, before in zip(new, alone, begun, state, strict=True):
        torch.testing.assert_close(now[:1], late, rtol=0, atol=1e-15)
        torch.testing.assert_close(now[1:2], early, rtol=0, atol=1e-15)
        assert torch.equal(now[2], before[2])


@pytest.mark.parametrize("name", PEERS)
def test_no_frames_and_no_rows(name):
    _, x, weight, bias, state = _case(name)
    y, new = getattr(ops, name)(x[:, :0], weight, bias, None, state)
    assert y.shape == (3, 0, 6)
    for a, b in zip(new, state, strict=True):
        assert torch.equal(a, b)
        assert a is not b
    y, _ = getattr(ops, name)(x[:0], weight, bias)
    assert y.shape == (0, 7, 6)


def test_registry_chooses_explains_and_is_forced():
    _, x, weight, bias, state = _case("lstm")
    op, mask = _recurrent._LSTM, torch.ones(3, 7, dtype=torch.bool)
    assert op.choose("auto", x, weight, bias, None, state).run is aten.lstm
    assert op.choose("auto", x, weight, bias, mask, state).run is ref.lstm
    few = x[:1, :4], weight, bias, None, tuple(s[:1] for s in state)
    assert op.choose("auto", *few).run is ref.lstm  # a chunk of one stream
    assert op.choose("aten", *few).run is aten.lstm
    assert op.explain(x, weight, bias, mask, state) == {"aten": "the kernel knows no absent frames", "ref": None}
    with ops.use("ref"):
        assert op.choose("auto", x, weight, bias, None, state).run is ref.lstm
    with ops.use("numba"):  # which this op has none of, but others have
        assert op.choose("auto", x, weight, bias, None, state).run is aten.lstm
    with ops.use("cuda"), pytest.raises(ValueError, match="no implementation 'cuda'"):
        op.choose("auto", x, weight, bias, None, state)
    with pytest.raises(ValueError, match="cannot take this call: the kernel knows no absent frames"):
        op.choose("aten", x, weight, bias, mask, state)
    with pytest.raises(ValueError, match=r"no implementation 'cuda'; it has \['aten', 'ref'\]"):
        op.choose("cuda", x, weight, bias, mask, state)


def test_the_environment_forces_one_too():
    code = "from lamina.ops.registry import forced; print(forced())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "LAMINA_IMPL": "ref"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "ref"


def test_vmap_takes_the_definition():
    _, x, weight, bias, _ = _case("lstm")
    many = torch.stack([weight, 2 * weight])
    got = torch.func.vmap(lambda w: ops.lstm(x, w, bias)[0])(many)
    torch.testing.assert_close(got[1], ops.lstm(x, 2 * weight, bias)[0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", PEERS)
def test_frames_of_another_width_never_reach_a_kernel(name):
    _, x, weight, bias, state = _case(name)
    for width in (1, 4, 6, 50):
        with pytest.raises(ValueError, match=f"{name}: frames of width {width} do not fit these weights, which take 5"):
            getattr(ops, name)(torch.randn(3, 7, width, dtype=x.dtype), weight, bias, None, state)
