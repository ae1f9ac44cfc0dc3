"""The ops with a constant state: every implementation against the definition, in values, states and gradients."""

import re
import subprocess
import sys
import threading

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from lamina import ops
from lamina.core.check.policy import tolerance
from lamina.ops._delta_rule import DELTA_RULE
from lamina.ops._retention import RETENTION
from lamina.ops._selective_scan import SELECTIVE_SCAN

OPS = {"retention": RETENTION, "delta_rule": DELTA_RULE, "selective_scan": SELECTIVE_SCAN}
CASES = ["retention", "retention(fixed)", "delta_rule", "delta_rule(gated)", "selective_scan"]


def _inputs(case, frames, batch=2, heads=2, keys=6, values=9, seed=0):
    """float64 inputs of a call, the state last."""
    g = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    if case == "selective_scan":
        channels, n = heads * values, keys
        return [
            randn(batch, frames, channels), F.softplus(randn(batch, frames, channels) - 2), -randn(channels, n).exp(),
            randn(batch, frames, n), randn(batch, frames, n), randn(channels), randn(batch, channels, n),
        ]  # fmt: skip
    q, k = randn(batch, frames, heads, keys), randn(batch, frames, heads, keys)
    v, state = randn(batch, frames, heads, values), randn(batch, heads, keys, values)
    decay = F.logsigmoid(randn(batch, frames, heads) + 2)
    if case.startswith("retention"):
        fixed = -0.03 * torch.arange(1, heads + 1, dtype=torch.float64)
        return [q, k * keys**-0.5, v, fixed if "fixed" in case else decay, state]
    gates = [randn(batch, frames, heads).sigmoid(), decay if "gated" in case else None]
    return [q * keys**-0.5, F.normalize(k, dim=-1), v, *gates, state]


def _run(case, inputs, impl, dtype, seed=1):
    """Outputs, state and the gradients of a random loss, by name."""
    name = case.split("(")[0]
    used = [None if t is None else t.detach().to(dtype).requires_grad_() for t in inputs]
    y, end = getattr(ops, name)(*used, impl=impl)
    g = torch.Generator().manual_seed(seed)
    loss = sum((t * torch.randn(t.shape, generator=g, dtype=torch.float64).to(t)).sum() for t in (y, end))
    wanted = [t for t in used if t is not None]
    gradients = torch.autograd.grad(loss, wanted)
    return {"y": y.detach(), "state": end.detach()} | {f"gradient {i}": t for i, t in enumerate(gradients)}


def _beyond(case, inputs, impl, dtype):
    """What the policy does not allow, as shares of what it does; the gradients of one loss count as one vector."""
    truth, ref = _run(case, inputs, "ref", torch.float64), _run(case, inputs, "ref", dtype)
    if dtype == torch.float64:  # the truth is rounded too: twice the rounding of float32, scaled
        rough = _run(case, inputs, "ref", torch.float32)
        ref = {name: t + (rough[name] - t) * 2.0**-28 for name, t in truth.items()}
    got = _run(case, inputs, impl, dtype)
    largest = max(float(t.abs().max()) for name, t in truth.items() if name.startswith("gradient"))
    shares = {}
    for name, wanted in truth.items():
        allowed = tolerance(wanted, ref[name], dtype, largest=largest if name.startswith("gradient") else 0.0)
        shares[name] = float((got[name].double() - wanted).abs().max()) / allowed
    return {name: share for name, share in shares.items() if not share <= 1}


@pytest.mark.parametrize("frames", [1, 2, 63, 64, 65, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("impl", ["numba", "chunk"])
@pytest.mark.parametrize("case", CASES)
def test_equals_the_definition(case, impl, frames):
    for dtype in (torch.float32, torch.float64):
        assert _beyond(case, _inputs(case, frames), impl, dtype) == {}, dtype


@pytest.mark.parametrize(("keys", "values"), [(1, 1), (3, 16), (16, 17), (20, 40), (33, 65), (70, 130)])
@pytest.mark.parametrize("case", CASES)
def test_any_width(case, keys, values):
    assert _beyond(case, _inputs(case, 5, batch=1, keys=keys, values=values), "numba", torch.float32) == {}


@pytest.mark.parametrize("frames", [1, 3, 4])
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_steps_of_a_stream(case, frames):
    """Without gradients a few frames take a way of their own."""
    for keys, values in ((16, 70), (5, 9), (40, 3)):
        inputs = _inputs(case, frames, keys=keys, values=values)
        op = getattr(ops, case.split("(")[0])
        truth = op(*inputs, impl="ref")
        narrow = [None if t is None else t.float() for t in inputs]
        for got, ref, wanted in zip(op(*narrow, impl="numba"), op(*narrow, impl="ref"), truth, strict=True):
            assert float((got - wanted).abs().max()) <= tolerance(wanted, ref, torch.float32)


@pytest.mark.parametrize("impl", ["numba", "chunk", "ref"])
@pytest.mark.parametrize("case", CASES)
def test_split_anywhere(case, impl):
    inputs = _inputs(case, 150)
    op = getattr(ops, case.split("(")[0])
    *given, state = inputs
    whole, end = op(*given, state, impl=impl)
    for cuts in ([1, 149], [64, 86], [0, 63, 2, 85], [150, 0], [17] * 8 + [14]):
        part, at, s = [], 0, state
        for n in cuts:
            piece = [
                t[:, at : at + n] if (t is not None and t.dim() > 2) or (case == "selective_scan" and i < 2) else t
                for i, t in enumerate(given)
            ]
            if case == "selective_scan":
                piece = [
                    *(t[:, at : at + n] for t in given[:2]),
                    given[2],
                    *(t[:, at : at + n] for t in given[3:5]),
                    given[5],
                ]
            y, s = op(*piece, s, impl=impl if n else "auto")
            part.append(y)
            at += n
        torch.testing.assert_close(torch.cat(part, 1), whole, rtol=0, atol=1e-12)
        torch.testing.assert_close(s, end, rtol=0, atol=1e-12)


@pytest.mark.parametrize("impl", ["numba", "chunk"])
@pytest.mark.parametrize("case", CASES)
def test_gradients_by_differences(case, impl):
    inputs = [t if t is None else t.requires_grad_() for t in _inputs(case, 35, batch=1, keys=2, values=3)]
    assert torch.autograd.gradcheck(lambda *a: getattr(ops, case.split("(")[0])(*a, impl=impl), inputs)


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_gradients(case):
    inputs = [t if t is None else t.requires_grad_() for t in _inputs(case, 4, batch=1, keys=2, values=2)]
    assert torch.autograd.gradgradcheck(lambda *a: getattr(ops, case.split("(")[0])(*a, impl="numba"), inputs)


def test_conventions():
    """One frame after another by hand: decay, then write, then read; nothing scaled, nothing normalised."""
    one = lambda *numbers: torch.tensor(numbers).view(1, -1, 1, 1)  # noqa: E731
    half = torch.full((1, 2, 1), 0.5).log()
    y, s = ops.retention(one(3.0, 5.0), one(2.0, 1.0), one(7.0, 4.0), half, torch.tensor([[[[8.0]]]]))
    assert y.flatten().tolist() == pytest.approx([3 * (4 + 14), 5 * (9 + 4)])
    assert s.item() == pytest.approx(13)
    beta = torch.tensor([[[0.5], [1.0]]])
    y, s = ops.delta_rule(one(3.0, 5.0), one(2.0, 1.0), one(7.0, 4.0), beta, half, torch.tensor([[[[8.0]]]]))
    first = 4 + 0.5 * 2 * (7 - 2 * 4)
    assert y.flatten().tolist() == pytest.approx([3 * first, 5 * 4.0])
    assert s.item() == pytest.approx(first / 2 + 1 * (4 - first / 2))
    x, dt, A = torch.tensor([[[2.0], [1.0]]]), torch.tensor([[[0.5], [1.0]]]), torch.tensor([[-2.0]])
    B, C, D = torch.tensor([[[3.0], [1.0]]]), torch.tensor([[[1.0], [2.0]]]), torch.tensor([10.0])
    y, h = ops.selective_scan(x, dt, A, B, C, D, torch.tensor([[[4.0]]]))
    first = 4 * torch.tensor(-1.0).exp().item() + 0.5 * 3 * 2
    second = first * torch.tensor(-2.0).exp().item() + 1
    assert y.flatten().tolist() == pytest.approx([first + 20, 2 * second + 10])
    assert h.item() == pytest.approx(second)


@pytest.mark.parametrize("impl", ["numba", "chunk", "ref"])
@pytest.mark.parametrize("case", CASES)
def test_absent_frames_leave_the_state_bit_equal(case, impl):
    inputs = [None if t is None else t.float() for t in _inputs(case, 20)]
    if case == "selective_scan":
        inputs[1] = torch.zeros_like(inputs[1])
    elif case.startswith("retention"):
        inputs[1], inputs[3] = torch.zeros_like(inputs[1]), torch.zeros(2, 20, 2)
    else:
        inputs[3], inputs[4] = torch.zeros(2, 20, 2), torch.zeros(2, 20, 2)
    _, end = getattr(ops, case.split("(")[0])(*inputs, impl=impl)
    assert torch.equal(end, inputs[-1])
    assert end.data_ptr() != inputs[-1].data_ptr()


@pytest.mark.parametrize("case", CASES)
def test_views_of_one_projection(case):
    """Queries, keys and values as slices of a wider tensor, decays expanded: no copy is asked of the caller."""
    inputs = [None if t is None else t.float() for t in _inputs(case, 40, keys=8, values=8)]
    wide = [t if t is None or t.dim() < 3 else torch.stack([t, t], t.dim() - 1).select(t.dim() - 1, 1) for t in inputs]
    wide = [t if t is None else t.transpose(0, 1).contiguous().transpose(0, 1) if t.dim() > 2 else t for t in wide]
    got, want = _run(case, wide, "numba", torch.float32), _run(case, inputs, "numba", torch.float32)
    for name in want:
        assert torch.equal(got[name], want[name]), name


@pytest.mark.parametrize("case", CASES)
def test_threads_and_repetition_change_no_bit(case):
    inputs = _inputs(case, 300, batch=3, heads=3, keys=16, values=40)
    before = torch.get_num_threads()
    try:
        runs = []
        for threads in (1, 2, 3, 2):
            torch.set_num_threads(threads)
            runs.append(_run(case, inputs, "numba", torch.float32))
    finally:
        torch.set_num_threads(before)
    for run in runs[1:]:
        assert all(torch.equal(run[name], runs[0][name]) for name in run)


def test_several_python_threads_at_once():
    inputs = [t.float() for t in _inputs("retention", 400, batch=4, heads=4, keys=32, values=32)]
    want, found = ops.retention(*inputs)[0], []
    workers = [threading.Thread(target=lambda: found.append(ops.retention(*inputs)[0])) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 3
    assert all(torch.equal(y, want) for y in found)


FORK = """
import os, torch
from lamina import ops
torch.set_num_threads(2)
x = torch.randn(4, 400, 4, 32)
decay = torch.zeros(4) - 1
want = ops.retention(x, x, x, decay)[0]
child = os.fork()
if not child:
    same = ops.retention(x, x, x, decay)[0].numpy().tobytes() == want.numpy().tobytes()
    os._exit(0 if same else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_forked_child_computes_on_one_thread():
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "0"


@pytest.mark.parametrize("case", CASES)
def test_narrow_inputs_keep_a_wide_state(case):
    inputs = [None if t is None else t.bfloat16() for t in _inputs(case, 7)]
    y, end = getattr(ops, case.split("(")[0])(*inputs[:-1])
    assert y.dtype == torch.bfloat16
    assert end.dtype == torch.float32


@pytest.mark.parametrize("impl", ["numba", "chunk", "ref"])
def test_what_is_wiped_out_is_gone_and_nan_is_not_hidden(impl):
    q, k, v, _, state = (t.float() for t in _inputs("retention", 40))
    decay = torch.zeros(2, 40, 2)
    decay[:, 20] = -torch.inf
    y, end = ops.retention(q, k, v, decay, state, impl=impl)
    later, last = ops.retention(q[:, 20:], k[:, 20:], v[:, 20:], decay[:, 21:22].expand(2, 20, 2), impl=impl)
    torch.testing.assert_close(y[:, 20:], later)
    torch.testing.assert_close(end, last)
    x, dt, *rest = (t.float() for t in _inputs("selective_scan", 40))
    dt[0, 5, 3] = torch.nan
    y, end = ops.selective_scan(x, dt, *rest, impl=impl)
    assert y[0, 5:, 3].isnan().all()
    assert end[0, 3].isnan().all()
    assert y[0, :5].isfinite().all()
    assert y[1].isfinite().all()


@pytest.mark.parametrize("case", CASES)
def test_operators_hold_pytorchs_rules(case):
    native = __import__(f"lamina.ops._{case.split('(')[0]}.native", fromlist=["_operator"])
    inputs = [None if t is None else t.requires_grad_() for t in _inputs(case, 5, batch=1, keys=2, values=3)]
    if case == "retention(fixed)":
        inputs[3] = inputs[3].detach().expand(1, 5, 2)
    torch.library.opcheck(native._operator, tuple(inputs))


@pytest.mark.parametrize("case", CASES)
def test_the_registry_says_why(case):
    inputs = [None if t is None else t.float() for t in _inputs(case, 5)]
    if case == "retention(fixed)":
        inputs[3] = inputs[3].expand(2, 5, 2)
    op = OPS[case.split("(")[0]]
    assert op.choose("auto", *inputs).name == "numba"
    reasons = op.explain(*inputs)
    assert reasons["chunk"] == "for so few frames a plain loop is as quick"
    assert reasons.get("fla", "its kernels are for CUDA") == "its kernels are for CUDA"
    assert op.explain(*(None if t is None else t.to("meta") for t in inputs))["numba"] == "it is for the CPU"
    assert op.explain(*(None if t is None else t.half() for t in inputs))["numba"] == "it has no form for torch.float16"


def test_transforms_take_a_form_that_they_can_follow():
    q, k, v, decay, state = _inputs("retention", 20)
    many = torch.stack([v, 2 * v])
    got = torch.func.vmap(lambda v: ops.retention(q, k, v, decay, state)[0])(many)
    torch.testing.assert_close(got[1], ops.retention(q, k, 2 * v, decay, state)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda q: ops.retention(q, q[..., :2], q, torch.zeros(2)),
            "k of shape [1, 3, 2, 2] does not fit [B=1,T=3,H=2,K=4]",
        ),
        (lambda q: ops.retention(q, q, q, torch.zeros(3)), "log_decay of shape [3] does not fit [H=2]"),
        (lambda q: ops.delta_rule(q, q, q, torch.zeros(1, 2, 3)), "beta of shape [1, 2, 3] does not fit [B=1,T=3,H=2]"),
    ],
)
def test_shapes_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(torch.zeros(1, 3, 2, 4))


@pytest.mark.parametrize(
    ("case", "forward", "backward"), [("retention", 4, 12), ("delta_rule", 6, 18), ("selective_scan", 6, 20)]
)
def test_flops_are_counted(case, forward, backward):
    inputs = [None if t is None else t.float().requires_grad_() for t in _inputs(case, 7, keys=5, values=3)]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        getattr(ops, case)(*inputs)
    assert counter.get_total_flops() == forward * 2 * 7 * 2 * 5 * 3  # B T H K V, or B T (H V) N
    with FlopCounterMode(display=False) as counter:
        getattr(ops, case)(*inputs)[0].sum().backward()
    assert counter.get_total_flops() == (forward + backward) * 2 * 7 * 2 * 5 * 3
