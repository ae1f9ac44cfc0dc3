"""On a GPU: the ops and every layer give what they give on the CPU, stream as they train there, and learn."""

import importlib.util

import pytest
import torch

from lamina import data, ops
from lamina.core import Seq
from lamina.core.check import Case
from lamina.core.check.policy import tolerance
from lamina.models import check_layers
from lamina.train import Order, fit
from test_memory_ops import CASES, OPS, _inputs, _run

if not torch.cuda.is_available():
    pytest.skip("no CUDA device on this machine", allow_module_level=True)

LAYERS = dict(check_layers())


@pytest.fixture(autouse=True)
def _float32(monkeypatch):
    """Convolutions in float32: by default cuDNN rounds their products to 10 bits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("frames", [1, 2, 63, 64, 65, 1000])
@pytest.mark.parametrize("case", CASES)
def test_ops_equal_the_definition(case, frames):
    inputs = _inputs(case, frames, keys=16, values=32)
    truth, ref = _run(case, inputs, "ref", torch.float64), _run(case, inputs, "ref", torch.float32)
    there = [None if t is None else t.cuda() for t in inputs]
    got = _run(case, there, "auto", torch.float32)
    for name, wanted in truth.items():
        allowed = tolerance(wanted, ref[name], torch.float32)
        assert float((got[name].cpu().double() - wanted).abs().max()) <= allowed, name


@pytest.mark.skipif(importlib.util.find_spec("fla") is None, reason="flash-linear-attention is not installed")
@pytest.mark.parametrize("frames", [1, 65, 200])
@pytest.mark.parametrize("case", [c for c in CASES if c != "selective_scan"])
def test_fla_runs_under_autocast_only(case, frames):
    """In half precision: 2^-8 a product. Where it says that its gradients fail, the chunk form runs."""
    op = OPS[case.split("(")[0]]
    inputs = _inputs(case, frames, keys=32, values=64)
    there = [None if t is None else t.cuda().float() for t in inputs]
    fixed = [t.expand(there[0].shape[:3]) if t is not None and t.dim() == 1 else t for t in there]
    assert "autocast" in op.explain(*fixed)["fla"]
    truth = getattr(ops, op.name)(*inputs, impl="ref")
    with torch.autocast("cuda", torch.bfloat16), torch.no_grad():
        assert op.explain(*fixed)["fla"] is None
        got = getattr(ops, op.name)(*there, impl="fla")
    for a, wanted in zip(got, truth, strict=True):
        assert float((a.cpu().double() - wanted).abs().max()) <= 0.02 * float(wanted.abs().max())
    truth = _run(case, inputs, "ref", torch.float64)
    with torch.autocast("cuda", torch.bfloat16):
        got = _run(case, there, "auto", torch.float32)
    for name, wanted in truth.items():
        assert float((got[name].cpu().double() - wanted).abs().max()) <= 0.03 * float(wanted.abs().max()), name


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_layers_give_and_stream_what_they_do_on_the_cpu(name):
    case = Case(LAYERS[name], name)
    x, memory = case.inputs(case.lengths), case.memory(4)
    truth = case.run(case.layer, x, memory)
    there = Case(LAYERS[name], name)
    there.layer.cuda()
    x, memory = _moved(x), None if memory is None else _moved(memory)
    found = there.run(there.layer, x, memory)
    assert found.values.is_cuda
    assert torch.equal(found.mask.cpu(), truth.mask)
    _close(found, truth)
    if case.reason is None:
        _close(_streamed(there, x, memory), truth)


def _streamed(case, x, memory):
    x = case.followed(x)
    state = case.layer.init_state(len(x.mask), like=torch.empty(0, device="cuda"), memory=memory)
    y, _ = case.steps(case.layer, x, (1, 3, 2), state=state, memory=memory)
    return y.slice(case.spec.delay, y.mask.shape[1])


def _moved(x):
    return Seq(x.values.cuda(), x.mask.cuda())


def _close(found, truth):
    """The same real frames to 2e-5 of the largest number: sums in another order, through several layers."""
    frames = truth.mask.shape[1]
    wanted, got = truth.values[truth.mask], found.values.cpu()[:, :frames][truth.mask]
    assert torch.equal(found.mask.cpu()[:, :frames], truth.mask)
    assert float((got - wanted).abs().max()) <= 2e-5 * float(wanted.abs().max())


@pytest.mark.parametrize("model", ["mamba", "retnet", "deltanet", "gated_retention", "yoco", "hybrid", "lstm"])
def test_training_takes_the_same_way(model):
    """Losses of some steps, as on the CPU: rounding grows with every step, hence few."""
    dataset = data.load("induction:length=32,vocab=8")
    keys = {"d_model": 16, "n_layers": 2} | ({"capacity": 64} if model == "yoco" else {})
    losses = {}
    for device in ("cpu", "cuda"):
        task = Order(model, keys, dataset.name).build(dataset).to(device)
        history = fit(task, dataset, steps=8, lr=1e-3, seed=0, batch_size=16)
        assert next(task.parameters()).device.type == device
        losses[device] = [loss for _, loss in history.loss]
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-4)


def test_a_launched_process_trains_on_the_gpu_and_brings_the_weights_back(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # as `accelerate launch` does
    dataset = data.load("induction:length=32,vocab=8")
    task = Order("lstm", {"d_model": 16, "n_layers": 1}, dataset.name).build(dataset)
    devices = []
    fit(task, dataset, steps=2, lr=1e-3, seed=0, batch_size=4,
        on_step=lambda *_: devices.append(next(task.parameters()).device.type))  # fmt: skip
    assert devices == ["cuda", "cuda"]
    assert next(task.parameters()).device.type == "cpu"
