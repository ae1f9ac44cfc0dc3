"""The ops of one frame (norm, gate, rotation, product): kernels against definitions; the same call again."""

import re
import threading

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import lamina
from lamina import ops
from lamina.core import Seq
from lamina.core.check.policy import tolerance
from lamina.ops._gelu import GELU
from lamina.ops._layer_norm import LAYER_NORM
from lamina.ops._linear import LINEAR
from lamina.ops._native import again
from lamina.ops._rms_norm import RMS_NORM
from lamina.ops._rotate import ROTATE
from lamina.ops._swiglu import SWIGLU

POSITIONS = torch.tensor([[0, 1, 2, 3, 4], [7, 8, 1000, 10, 11]])
# name -> (op, float64 inputs for a width, settings)
CASES = {
    "norm": lambda g, n: (ops.rms_norm, [_randn(g, 2, 5, n), _randn(g, n)], {}),
    "norm of heads": lambda g, n: (ops.rms_norm, [_randn(g, 2, 5, 3, n)], {"eps": 1e-3}),
    "gated norm": lambda g, n: (ops.rms_norm, [_randn(g, 2, 5, 3, n), _randn(g, n), 4 * _randn(g, 2, 5, 3, n)], {}),
    "swiglu": lambda g, n: (ops.swiglu, [6 * _randn(g, 2, 5, n), _randn(g, 2, 5, n)], {}),
    "rotate": lambda g, n: (ops.rotate, [_randn(g, 2, 5, 3, 2 * n)], {}),
    "rotate at": lambda g, n: (ops.rotate, [_randn(g, 2, 5, 3, 2 * n)], {"positions": POSITIONS, "closed": True}),
}
WIDTHS = [1, 3, 16, 17, 40, 64]


def _randn(g, *shape):
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def _case(name, width=17, seed=0):
    return CASES[name](torch.Generator().manual_seed(seed), width)


def _run(op, inputs, settings, impl, dtype, seed=1):
    """The output and the gradients of a random loss."""
    used = [t.detach().to(dtype).requires_grad_() for t in inputs]
    y = op(*used, **settings, impl=impl)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return [y.detach(), *torch.autograd.grad((y * weights.to(dtype)).sum(), used)]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", CASES)
def test_kernels_equal_the_definition(name, width):
    op, inputs, settings = _case(name, width)
    truth = _run(op, inputs, settings, "ref", torch.float64)
    narrow, ref = (_run(op, inputs, settings, impl, torch.float32) for impl in ("numba", "ref"))
    for got, own, wanted in zip(narrow, ref, truth, strict=True):
        assert float((got - wanted).abs().max()) <= tolerance(wanted, own, torch.float32)
    for got, wanted in zip(_run(op, inputs, settings, "numba", torch.float64), truth, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=2e-12)
    with torch.no_grad():  # a way without an operator
        assert torch.equal(op(*(t.float() for t in inputs), **settings, impl="numba"), narrow[0])


@pytest.mark.parametrize("name", CASES)
def test_gradients_by_differences(name):
    op, inputs, settings = _case(name, 3)
    inputs = [t[:1, :2].detach().requires_grad_() if t.dim() > 1 else t.requires_grad_() for t in inputs]
    settings = {key: value[:1, :2] if key == "positions" else value for key, value in settings.items()}
    assert torch.autograd.gradcheck(lambda *t: op(*t, **settings, impl="numba"), inputs)
    assert torch.autograd.gradgradcheck(lambda *t: op(*t, **settings, impl="numba"), inputs)


@pytest.mark.parametrize("name", CASES)
def test_views_and_threads_change_no_bit(name):
    op, inputs, settings = _case(name, 16)
    want = _run(op, inputs, settings, "numba", torch.float32)
    wide = [t if t.dim() == 1 else torch.cat([t, t], -1)[..., t.shape[-1] :] for t in inputs]
    turned = [t if t.dim() == 1 else t.transpose(0, 1).contiguous().transpose(0, 1) for t in inputs]
    before = torch.get_num_threads()
    try:
        for given in (wide, turned):
            for threads in (1, 3):
                torch.set_num_threads(threads)
                found = _run(op, given, settings, "numba", torch.float32)
                assert all(torch.equal(a, b) for a, b in zip(found, want, strict=True))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("module", ["rms_norm", "swiglu", "rotate", "short_conv"])
def test_operators_hold_pytorchs_rules(module):
    native = __import__(f"lamina.ops._{module}.native", fromlist=["_operator"])
    x, weight = (torch.randn(*shape, requires_grad=True) for shape in ((1, 2, 2, 6), (6,)))
    given = {"rms_norm": (x, weight, x, 1e-6), "swiglu": (x[:, :, 0], x[:, :, 1]), "rotate": (x, None, True, False)}
    given["short_conv"] = (x[:, :, 0], torch.randn(6, 3, requires_grad=True), weight, torch.randn(1, 2, 6))
    torch.library.opcheck(native._operator, given[module])


def test_norm_and_gate_at_the_ends_of_the_range():
    x = torch.full((1, 1, 20), 1e-30)
    assert torch.isfinite(ops.rms_norm(x, impl="numba")).all()
    gate, one = torch.tensor([[[-1e4, -100.0, 0.0, 100.0, 1e4]]]), torch.ones(1, 1, 5)
    assert ops.swiglu(gate, one, impl="numba").flatten().tolist() == pytest.approx([0, 0, 0, 100, 1e4], abs=1e-30)
    assert ops.rms_norm(torch.tensor([[[torch.nan, 1.0]]]), impl="numba").isnan().all()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("frames", "size", "rows"), [(1, 1, 1), (3, 15, 70), (4, 64, 64), (2, 257, 129)])
@torch.no_grad()
def test_products_of_a_few_frames(frames, size, rows, bias):
    g = torch.Generator().manual_seed(0)
    x, weight = _randn(g, 1, frames, size), _randn(g, rows, size)
    shift = _randn(g, rows) if bias else None
    truth = ops.linear(x, weight, shift, impl="ref")
    torch.testing.assert_close(ops.linear(x, weight, shift, impl="numba"), truth, rtol=0, atol=1e-12)
    narrow = [None if t is None else t.float() for t in (x, weight, shift)]
    got, own = (ops.linear(*narrow, impl=impl) for impl in ("numba", "ref"))
    assert float((got - truth).abs().max()) <= tolerance(truth, own, torch.float32)


@pytest.mark.parametrize(("shape", "shift"), [((1, 1, 1), 0), ((2, 3, 15), 5), ((1, 16, 64), 0), ((16, 257), 100)])
@torch.no_grad()
def test_layer_norm_of_a_few_frames(shape, shift):
    g = torch.Generator().manual_seed(0)
    x, weight, bias = _randn(g, *shape) + shift, _randn(g, shape[-1]), _randn(g, shape[-1])
    truth = ops.layer_norm(x, weight, bias, 0.1, impl="ref")
    torch.testing.assert_close(ops.layer_norm(x, weight, bias, 0.1, impl="numba"), truth, rtol=0, atol=1e-12)
    narrow = x.float(), weight.float(), bias.float(), 0.1
    truth = ops.layer_norm(*(t.double() for t in narrow[:3]), 0.1, impl="ref")
    got, own = (ops.layer_norm(*narrow, impl=impl) for impl in ("numba", "ref"))
    assert float((got - truth).abs().max()) <= tolerance(truth, own, torch.float32)
    assert torch.equal(ops.layer_norm(x.float().mT.contiguous().mT, *narrow[1:], impl="numba"), got)


@torch.no_grad()
def test_gelu_of_a_few_frames():
    x = torch.cat([torch.linspace(-12, 12, 9001), torch.tensor([0.0, -0.0, 1e-30, -1e-30, 3e38, -3e38])])
    truth, own = ops.gelu(x.double(), impl="ref"), ops.gelu(x, impl="ref")
    got = ops.gelu(x, impl="numba")
    few = x.abs() < 13
    assert float((got - truth)[few].abs().max()) <= tolerance(truth[few], own[few], torch.float32)
    tail = (x > -5) & (x < -1)  # small numbers too, not only beside large ones
    assert float(((got - truth) / truth)[tail].abs().max()) < 5e-6
    assert got[-2:].tolist() == pytest.approx([3e38, 0.0])
    assert ops.gelu(torch.tensor([torch.inf, torch.nan]), impl="numba").tolist()[0] == torch.inf
    assert ops.gelu(torch.tensor([torch.nan]), impl="numba").isnan().all()
    assert torch.equal(ops.gelu(x[:9000].view(30, 300).mT, impl="numba"), got[:9000].view(30, 300).mT)


def test_norm_and_gelu_leave_gradients_and_many_frames_to_pytorch():
    x, weight = torch.randn(1, 4, 8, requires_grad=True), torch.randn(8)
    assert "gradient" in LAYER_NORM.explain(x, weight, weight)["numba"]
    assert "gradient" in GELU.explain(x)["numba"]
    with torch.no_grad():
        assert LAYER_NORM.explain(x, weight, weight)["numba"] is None
        assert "more frames" in LAYER_NORM.explain(x.expand(5, 4, 8), weight, weight)["numba"]
        assert "shapes" in LAYER_NORM.explain(x, weight[:3], weight)["numba"]
        assert "more frames" in GELU.explain(x.expand(999, 4, 8))["numba"]
        assert "float32" in GELU.explain(x.double())["numba"]


def test_products_leave_to_pytorch_what_it_does_better():
    x, weight = torch.randn(1, 1, 128), torch.randn(64, 128)
    with torch.no_grad():
        assert LINEAR.choose("auto", x, weight, None).name == "numba"
        assert LINEAR.explain(x.expand(1, 5, 128), weight, None)["numba"].startswith("for more frames")
        assert LINEAR.explain(x, weight[:3], None)["numba"].startswith("for so small a matrix")
        with torch.autocast("cpu"):
            assert ops.linear(x, weight).dtype == torch.bfloat16
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            ops.linear(x, weight[:, :100].repeat(3, 1))
    weight.requires_grad_()
    assert LINEAR.explain(x, weight, None)["numba"] == "PyTorch's product has the gradient"
    assert torch.equal(torch.autograd.grad(ops.linear(x, weight, impl="numba").sum(), weight)[0], x[0].expand(64, 128))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(5,), (2, 8), (16, 1), (1, 64)])
@torch.no_grad()
def test_products_with_weights_that_are_laid_out(shape, bias):
    g = torch.Generator().manual_seed(0)
    x, weight = _randn(g, *shape, 257), _randn(g, 129, 257)
    shift = _randn(g, 129) if bias else None
    narrow = x.float(), torch.nn.Parameter(weight.float()), None if shift is None else shift.float()
    truth, own = ops.linear(x, weight, shift, impl="ref"), ops.linear(*narrow, impl="ref")
    with ops.packed_weights():
        assert LINEAR.choose("auto", *narrow).name == "onednn"
        first, again = ops.linear(*narrow), ops.linear(*narrow)
    assert first.shape == (*shape, 129)
    assert torch.equal(first, again)
    assert float((first - truth).abs().max()) <= tolerance(truth, own, torch.float32)


def test_weights_are_laid_out_where_they_stay_as_they_are_and_no_longer():
    x, weight = torch.randn(16, 128), torch.nn.Parameter(torch.randn(256, 128))
    with torch.no_grad():
        assert "may change at any time" in LINEAR.explain(x, weight, None)["onednn"]
    for _ in range(2):  # a weight that has changed in between is laid out anew
        with torch.no_grad(), ops.packed_weights():
            torch.testing.assert_close(ops.linear(x, weight), x @ weight.T, rtol=1e-5, atol=1e-4)
            ops.linear(x, weight)
        weight.data.mul_(-3)
    with ops.packed_weights():
        assert LINEAR.explain(x, weight, None)["onednn"] == "it has no gradient"
        assert ops.linear(x, weight).requires_grad
        with torch.no_grad():
            assert LINEAR.explain(x, weight.data, None)["onednn"].startswith("this is no parameter")
            for frames in (4, 65):
                assert LINEAR.choose("auto", x[:1].expand(frames, -1), weight, None).name != "onednn"
            assert LINEAR.choose("auto", x.double(), torch.nn.Parameter(weight.double()), None).name == "ref"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: ops.rotate(x[..., :3]), "has an odd width; positions turn pairs"),
        (lambda x: ops.rotate(x, POSITIONS[:, :1]), "positions of shape [2, 1] does not fit [rows=2,T=2]"),
        (lambda x: ops.rotate(x, torch.zeros(2, 2, dtype=torch.int64)), "are neither one row nor B=3"),
        (lambda x: ops.rms_norm(x, torch.ones(3)), "weight of shape [3] does not fit [D=4]"),
        (lambda x: ops.rms_norm(x, None, x[:, :1]), "gate of shape [3, 1, 1, 4] does not fit [B=3,T=2,H=1,D=4]"),
        (lambda x: ops.swiglu(x[:, :, 0], x[:, :1, 0]), "value of shape [3, 1, 4] does not fit [B=3,T=2,D=4]"),
    ],
)
def test_nothing_is_read_beyond_what_was_given(call, message):
    with pytest.raises(ValueError, match=re.escape(message)), torch.no_grad():
        call(torch.randn(3, 2, 1, 4))


@torch.no_grad()
def test_a_bias_that_does_not_fit_is_pytorchs_error():
    with pytest.raises(RuntimeError, match="expanded size"):
        ops.linear(torch.randn(1, 1, 128), torch.randn(64, 128), torch.randn(3))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["mlp", "retnet"])
@torch.no_grad()
def test_a_trace_sees_the_operators(name):
    """torch.jit.trace would take what a kernel wrote for a constant."""

    class Frame(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = lamina.create(name, d_model=64, n_layers=1)

        def forward(self, values):
            return self.model(Seq.of(values)).values

    module = Frame().eval()
    traced = torch.jit.trace(module, torch.randn(1, 1, 64), check_trace=False)
    x = torch.randn(1, 1, 64)
    torch.testing.assert_close(traced(x), module(x))


def test_the_registry_says_why():
    x = torch.randn(1, 2, 4)
    for op, inputs in ((RMS_NORM, (x, None, None)), (SWIGLU, (x, x)), (ROTATE, (x[None], None, False))):
        assert op.choose("auto", *inputs).name == "numba"
    assert (
        RMS_NORM.explain(x, x[0, 0].double(), None)["numba"] == "it has no form for torch.float32 beside torch.float64"
    )
    assert ROTATE.explain(x[None], torch.zeros(1, 2), False)["numba"] == "it has no form for positions of torch.float32"


class _Counted:
    """An op that is watched: how often its own code runs."""

    def __init__(self, op):
        self.count = 0
        self.op = again.again(self._counted(op.__wrapped__))

    def _counted(self, op):
        def run(*given, **settings):
            self.count += 1
            return op(*given, **settings)

        return run


def _stream_calls():
    g = torch.Generator().manual_seed(0)
    rand = lambda *shape: _randn(g, *shape).float()  # noqa: E731
    k, v, dt, wide = rand(2, 1, 3, 8), rand(2, 1, 3, 5), rand(2, 1, 40).exp(), rand(2, 1, 3, 24)
    return {
        "rms_norm": (ops.rms_norm, lambda: ((wide[..., 8:16], rand(8), rand(2, 1, 3, 8)), {"eps": 0.1})),
        "layer_norm": (ops.layer_norm, lambda: ((rand(2, 1, 20), rand(20), rand(20), 0.1), {})),
        "gelu": (ops.gelu, lambda: ((rand(2, 1, 20),), {})),
        "swiglu": (ops.swiglu, lambda: (rand(2, 1, 20).chunk(2, -1), {})),
        "rotate": (ops.rotate, lambda: ((rand(2, 1, 3, 8), torch.randint(9, (2, 1), generator=g)), {"closed": True})),
        "linear": (ops.linear, lambda: ((rand(1, 1, 128), rand(64, 128), rand(64)), {})),
        "short_conv": (ops.short_conv, lambda: ((rand(2, 1, 9), rand(9, 4), rand(9), None, rand(2, 3, 9)), {})),
        "retention": (ops.retention, lambda: ((rand(2, 1, 3, 8), k, v, -rand(3).exp(), rand(2, 3, 8, 5)), {})),
        "selective_scan": (
            ops.selective_scan,
            lambda: ((rand(2, 1, 40), dt, -rand(40, 6).exp(), *rand(2, 2, 1, 6), rand(40), rand(2, 40, 6)), {}),
        ),
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["rms_norm", "layer_norm", "gelu", "swiglu", "rotate", "linear", "short_conv", "retention", "selective_scan"],
)
@torch.no_grad()
def test_the_same_call_again_gives_what_the_op_gives(name):
    op, make = _stream_calls()[name]
    counted, kept = _Counted(op), []
    for i in range(4):
        given, settings = make()
        want, got = op.__wrapped__(*given, **settings), counted.op(*given, **settings)
        want, got = (t if isinstance(t, tuple) else (t,) for t in (want, got))
        assert all(torch.equal(a, b) for a, b in zip(want, got, strict=True)), i
        kept.append((want, got))
    assert counted.count == 1
    for want, got in kept:  # every call has outputs of its own
        assert all(torch.equal(a, b) for a, b in zip(want, got, strict=True))
    assert len({t.data_ptr() for _, got in kept for t in got}) == sum(len(got) for _, got in kept)


def test_what_is_not_the_same_call_is_made_anew():
    norm = _Counted(ops.rms_norm)
    x, weight = torch.randn(1, 2, 8), torch.randn(8)
    with torch.no_grad():
        norm.op(x, weight)
        norm.op(x, weight)
        assert norm.count == 1
        for given in ((x[:, :1], weight), (x.double(), weight.double()), (x, None), (x.transpose(0, 1), weight)):
            torch.testing.assert_close(norm.op(*given), ops.rms_norm(*given, impl="ref"))
        assert norm.count == 5
        for eps in (0.5, 0.7):
            torch.testing.assert_close(norm.op(x, weight, eps=eps), ops.rms_norm(x, weight, eps=eps, impl="ref"))
        assert norm.count == 7
        with ops.use("ref"):  # no kernel runs, so that there is nothing to repeat
            norm.op(x, weight)
            norm.op(x, weight)
        assert norm.count == 9
        with FlopCounterMode(display=False):
            norm.op(x, weight)
        with torch.autocast("cpu"):
            norm.op(x, weight)
        assert norm.count == 11
        for twice in (x, x, torch.randn(1, 2, 8)):  # at one address the inputs cannot be told apart
            torch.testing.assert_close(norm.op(x, None, twice), ops.rms_norm(x, None, twice, impl="ref"))
        assert norm.count == 14
    norm.op(x, weight)
    assert norm.op(x, weight.requires_grad_()).requires_grad
    assert norm.count == 16


@torch.no_grad()
def test_the_same_call_from_several_threads():
    x = [torch.randn(4, 8, 64) for _ in range(4)]
    want, found = [ops.rms_norm(t, impl="ref") for t in x], {}

    def work(i):
        found[i] = [ops.rms_norm(x[i]) for _ in range(200)]

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for i, runs in found.items():
        for y in runs:
            torch.testing.assert_close(y, want[i])


@torch.no_grad()
def test_no_more_calls_are_remembered_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(again, "MANY", 3)
    norm = _Counted(ops.rms_norm)
    for frames in (1, 2, 3, 4, 4, 1):
        x = torch.randn(1, frames, 8)
        torch.testing.assert_close(norm.op(x), ops.rms_norm(x, impl="ref"))
    assert norm.count == 5
