"""lamina bench: the gate goes red on what is wrong, counts are what the formulas say, and results keep their form."""

import dataclasses
import json

import pytest
import torch

from lamina import ops
from lamina.bench import (
    encoder_rows,
    frame_rows,
    growth,
    layer_rows,
    op_rows,
    rows,
    table,
    timing,
    translate_rows,
    work,
)
from lamina.bench import ops as bench
from lamina.bench.case import Case
from lamina.bench.gate import agreement, judge
from lamina.bench.limits import Limits, measure
from lamina.bench.memory import peaks
from lamina.bench.peer import Peer
from lamina.bench.row import Target
from lamina.cli import _run
from lamina.core import Layer, Seq, StreamSpec
from lamina.models import create
from lamina.ops._retention import RETENTION
from lamina.ops._retention.ref import retention as definition
from lamina.ops.registry import Impl

ASKED = {"forward": Target(2, 4), "forward+backward": Target(2, 4)}
TINY = Limits(flops=1e9, bytes=1e9, exps=1e8, exp_by="torch.exp")
ROWS = {
    "selective_scan": lambda: op_rows.selective_scan_row(2, 32, 4, 3, ASKED),
    "delta_rule": lambda: op_rows.delta_rule_row(2, 32, 2, 4, ASKED),
    "retention": lambda: op_rows.retention_row(2, 32, 2, 4, ASKED),
    "rms_norm": lambda: frame_rows.rms_norm_row(2, 32, 5),
    "gated_norm": lambda: frame_rows.gated_norm_row(2, 32, 2, 4),
    "swiglu": lambda: frame_rows.swiglu_row(2, 32, 5),
    "short_conv": lambda: frame_rows.short_conv_row(2, 70, 5, 4),
    "window_attention": lambda: frame_rows.window_attention_row(2, 70, 2, 4, 5, (ASKED["forward"],) * 2),
    "linear": lambda: frame_rows.linear_row(64, 70),
    "retention_layer": lambda: layer_rows.retention_layer_row(2, 32, 8, 2, ASKED),
    "mamba_step": lambda: layer_rows.mamba_step_row(8, 2, Target(2, 4)),
    "retnet_step": lambda: layer_rows.retnet_step_row(8, 2, Target(2.5, 4)),
    "bert": lambda: encoder_rows.bert_row(3, 7, 8, 2, (ASKED["forward"],) * 2),
    "conformer": lambda: encoder_rows.conformer_row(3, 8, 8, 1, 3, (ASKED["forward"],) * 2),
    "transformer": lambda: encoder_rows.transformer_row(2, 7, 8, 2, (ASKED["forward"],) * 2),
    "translate": lambda: translate_rows.translate_row(2, 4, 20, 16, 1, Target(2, 4)),
}


@pytest.fixture
def tiny(monkeypatch):
    """The command line's rows at tiny sizes, the limits made up."""
    monkeypatch.setattr(rows, "op_rows", lambda: (ROWS["retention"](),))
    monkeypatch.setattr(rows, "frame_rows", tuple)
    monkeypatch.setattr(rows, "layer_rows", lambda: (ROWS["retnet_step"](),))
    monkeypatch.setattr(rows, "translate_rows", tuple)
    monkeypatch.setattr(rows, "encoder_rows", tuple)
    monkeypatch.setattr(bench, "measure", lambda: TINY)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def command(capsys, *arguments):
    status = _run(["bench", *arguments])
    out, err = capsys.readouterr()
    return status, out, err


class _WrongGradient(torch.autograd.Function):
    """The definition's values, twice its gradient of q."""

    @staticmethod
    def forward(ctx, q, k, v, log_decay, state):
        ctx.save_for_backward(q, k, v, log_decay, state)
        return definition(q, k, v, log_decay, state)

    @staticmethod
    def backward(ctx, *seeds):
        leaves = [t.detach().requires_grad_() for t in ctx.saved_tensors]
        with torch.enable_grad():
            outputs = definition(*leaves)
        q, *others = torch.autograd.grad(outputs, leaves, seeds)
        return (2 * q, *others)


def _wrong(where):
    def run(q, k, v, log_decay, state):
        if where == "gradient of q":
            return _WrongGradient.apply(q, k, v, log_decay, state)
        y, last = definition(q, k, v, log_decay, state)
        if where == "y":
            return y + 1e-3 * y.abs().max(), last
        if where == "y without a graph":
            return (y if torch.is_grad_enabled() else 1.01 * y), last
        if where == "NaN":
            return torch.nan * y, last
        if where == "no graph":
            return y.detach(), last.detach()
        return y, 1.01 * last

    return run


@pytest.mark.parametrize("where", ["y", "state", "gradient of q", "y without a graph", "NaN", "no graph"])
def test_a_planted_wrong_op_is_red_and_gets_no_time(capsys, monkeypatch, tiny, where):
    monkeypatch.setattr(RETENTION, "impls", (Impl("wrong", _wrong(where)), *RETENTION.impls))
    monkeypatch.setattr(bench, "interleaved", lambda *_, **__: pytest.fail("something was timed"))
    status, out, _ = command(capsys, "ops", "--json")
    found = json.loads(out)
    tensor = {"NaN": "y", "no graph": "gradient of q"}.get(where, where.removesuffix(" without a graph"))
    assert status == 1
    assert found["red"][0].startswith(f"retention B2 L32 H2 K4 V4: {tensor} differs from the definition")
    assert "limits" not in found
    assert all(row["timings"] == [] for row in found["rows"])
    status, out, _ = command(capsys, "ops")
    assert status == 1
    assert "RED retention" in out
    assert "no time is given on red" in out
    assert "ours, ms" not in out


@pytest.mark.parametrize("name", ROWS)
def test_ours_is_green_and_in_pieces_the_same(name):
    row = ROWS[name]()
    verdict = judge(row.case, gradients=row.trains)
    assert verdict.red is None
    assert 0 < verdict.allowed < 1e-2
    whole, pieces = row.case(torch.float64, None), row.case(torch.float64, 5)
    with ops.use("ref"):
        for key, value in whole.run(whole.leaves).items():
            torch.testing.assert_close(pieces.run(pieces.leaves)[key], value, rtol=0, atol=1e-12)


def _peer(name, change=lambda y: y, module="torch"):
    def case(ours):
        return Case(ours.leaves, lambda given: {"y": change(ours.run(given)["y"])})

    return Peer(name, "torch", module, case)


def _breaks(_):
    raise TypeError("renamed argument\nsecond line")


def test_peers_that_agree_are_timed_and_the_others_say_why(tiny):
    good, slow = _peer("good"), _peer("slow", lambda y: sum(y for _ in range(2000)) / 2000)
    bad, gone = _peer("bad", lambda y: 1.01 * y), _peer("gone", module="no_such_module")
    row = dataclasses.replace(
        ROWS["retention"](), peers=(slow, good, bad, gone, Peer("broken", "torch", "torch", _breaks))
    )
    found = bench.bench_rows([row], peers=True, rounds=3, limits=TINY)["rows"][0]
    reasons = {p["name"]: p["reason"] for p in found["peers"]}
    assert reasons["good"] is None
    assert reasons["slow"] is None
    assert reasons["bad"].startswith(("y differs from ours by 1.0e-02", "gradient of"))
    assert reasons["gone"] == "gone: torch is not installed; pip install 'lamina[bench]'"
    assert reasons["broken"] == "it fails: TypeError: renamed argument"
    assert [t["what"] for t in found["timings"]] == ["forward", "forward+backward"]
    for timed in found["timings"]:
        assert set(timed["times"]) == {"lamina", "good", "slow"}
        assert timed["best_peer"] == "good"
        ratio = timed["times"]["good"]["us_p50"] / timed["times"]["lamina"]["us_p50"]
        assert timed["ratio"] == pytest.approx(ratio, rel=1e-2)
        assert timed["met"] == Target(2, 4).met(timed["ratio"])


def test_a_peer_in_another_layout_is_compared_in_ours():
    def case(ours):
        leaves = {**ours.leaves, "q": 3 * ours.leaves["q"].transpose(1, 2)}

        def run(given):
            q = given["q"].transpose(1, 2) / 3
            return {"y": ops.retention(**{**given, "q": q})[0].transpose(1, 2)}

        return Case(leaves, run)

    ours = ROWS["retention"]().case(torch.float32, None)
    peer = Peer("turned", "torch", "torch", case, restore=lambda y: y.transpose(1, 2))
    assert agreement(ours, peer, gradients=True).reason is None
    twice = dataclasses.replace(peer, restore=lambda y: 2 * y.transpose(1, 2))
    assert agreement(ours, twice, gradients=False).difference == pytest.approx(1)
    assert agreement(ours, dataclasses.replace(peer, restore=lambda y: y), gradients=False).difference == torch.inf


def test_json_has_the_same_keys_for_every_row(capsys, tiny):
    status, out, _ = command(capsys, "ops", "--json", "--rounds", "2")
    found = json.loads(out)
    assert status == 0
    assert set(found) == {"red", "policy", "peer_bound", "env", "limits", "rows"}
    assert set(found["limits"]) == {"sgemm_gflops", "copy_gb_s", "exp_g_s", "exp_by"}
    assert [r["name"] for r in found["rows"]] == ["retention", "retnet_step"]
    for row in found["rows"]:
        assert set(row) == {"name", "shape", "gate", "peers", "timings"}
        assert set(row["gate"]) == {"red", "tensor", "error", "allowed"}
        for timed in row["timings"]:
            assert set(timed) == {
                "what", "rounds", "implementations", "times", "best_peer", "ratio", "must", "aim", "met", "work",
                "least_us", "bound_by", "share",
            }  # fmt: skip
            assert timed["ratio"] is None
            assert timed["rounds"] == 2
            assert set(timed["work"]) == {"flops", "exps", "bytes", "formula"}
            assert timed["share"] == pytest.approx(timed["least_us"] / timed["times"]["lamina"]["us_p50"], rel=0.01)
            assert timed["implementations"]["retention"]["chosen"] in {i.name for i in RETENTION.impls}


def test_the_table_names_what_ran_and_what_it_is_held_against(capsys, tiny):
    status, out, _ = command(capsys, "models", "--rounds", "2")
    assert status == 0
    assert "retnet_step 2 layers B1 d8: within the policy" in out
    assert "ours, ms" in out
    assert "fastest peer" not in out
    assert "retention: " in out
    assert "limits: sgemm 1 GFLOP/s, copy 1 GB/s, exp 0.1 G/s (torch.exp)" in out
    assert "its matrix products alone take" in out


def test_choices_are_what_the_registry_says():
    row = ROWS["retention"]()
    case = row.case(torch.float32, None)
    with bench.choices() as seen:
        case.run(case.leaves)
        with ops.use("ref"):
            inside = dict(seen)
            case.run(case.leaves)
    assert inside["retention"]["chosen"] == next(
        i.name for i in RETENTION.impls if i.name not in inside["retention"]["refused"]
    )
    assert seen["retention"]["chosen"] == "ref"
    assert bench.Op.choose.__name__ == "choose"
    assert bench.Op.choose.__module__ == "lamina.ops.registry"


def test_counts_are_the_formulas():
    scan = work.selective_scan(2, 3, 5, 7)
    assert scan.flops == 2 * 3 * (5 * 7 * 6 + 5 * 3)
    assert scan.exps == 2 * 3 * 5 * 7
    assert scan.bytes == 4 * (3 * 30 + 2 * 42 + 35 + 5 + 2 * 70)  # x dt y, B C, A, D, state in and out
    kept = work.retention(2, 3, 5, 7, 11)
    assert (kept.flops, kept.exps) == (4 * 30 * 77, 30)
    assert kept.bytes == 4 * (2 * 30 * 7 + 2 * 30 * 11 + 5 + 2 * 2 * 5 * 77)
    delta = work.delta_rule(2, 3, 5, 7, 11)
    assert (delta.flops, delta.exps) == (6 * 30 * 77, 0)
    assert delta.bytes == 4 * (2 * 30 * 7 + 2 * 30 * 11 + 30 + 2 * 2 * 5 * 77)
    trained = delta.with_gradients()
    assert (trained.flops, trained.exps, trained.bytes) == (3 * delta.flops, 0, 2 * delta.bytes)
    assert kept.times(4).flops == 4 * kept.flops
    layer = work.products(kept, 6, 100, 10, state_bytes=8)
    assert (layer.flops, layer.bytes) == (kept.flops + 2 * 6 * 100, 4 * (100 + 2 * 6 * 10) + 2 * 8)


def test_the_slowest_need_sets_the_limit():
    assert work.Work(2e9, 1e6, 1e6, "").least(TINY) == (2.0, "sgemm")
    assert work.Work(1.0, 3e8, 1e6, "").least(TINY) == (3.0, "exp")
    assert work.Work(1.0, 1.0, 5e9, "").least(TINY) == (5.0, "copy")


def test_limits_are_positive_and_name_their_exp():
    found = measure(side=64, copied=4096, exps=4096, seconds=0.01)
    assert min(found.flops, found.bytes, found.exps) > 1e6
    assert found.exp_by in ("torch.exp", "numpy.exp")


def test_what_is_asked():
    assert [Target(2, 4).met(r) for r in (1.99, 2.0, 3.99, 4.0)] == ["no", "must", "must", "aim"]
    asked = {(r.name, r.shape): {w: (t.must, t.aim) for w, t in r.targets.items()} for r in rows.all_rows()}
    assert asked["selective_scan", "B4 L512 C512 N16"] == {"forward": (12, 25), "forward+backward": (10, 20)}
    assert asked["delta_rule", "B4 L2048 H4 d64"] == {"forward": (3, 6), "forward+backward": (4, 8)}
    assert asked["mamba_step", "4 layers B1 d256"] == {"step": (2, 4)}
    assert asked["linear", "16 of 1024x256 B1"] == {"step": (1, 2)}
    assert asked["window_attention", "B4 L2048 H4 d64 left128"] == {"forward": (4, 8), "forward+backward": (3, 5)}
    assert asked["bert", "4 layers B16 L128 d256"] == {"forward": (1.6, 2), "forward+backward": (1.6, 2)}
    assert asked["translate", "4+4 layers B1 S32 U64 d256"] == {"forward": (2, 4)}
    assert len(asked) == 24


def test_rounds_fit_the_time_that_there_is(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])

    def second():
        clock[0] += 1.0

    assert timing.rounds_within({"a": second, "b": second}, seconds=21.0) == 10
    assert timing.rounds_within({"a": second}, seconds=1.0) == 5
    assert timing.rounds_within({"a": second}, seconds=1e6) == 400


def test_a_burst_does_not_count_its_first_call(monkeypatch):
    clock, cold = [0.0], {"a": True, "b": True}
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])

    def call(name, other):
        def run():
            clock[0] += 9e-6 if cold[name] else 2e-6
            cold[name], cold[other] = False, True

        return run

    calls = {"a": call("a", "b"), "b": call("b", "a")}
    warm = timing.interleaved(calls, rounds=3, warmup=0, burst=4)
    assert warm["a"].p95 == pytest.approx(2)
    assert timing.interleaved(calls, rounds=3, warmup=0)["a"].median == pytest.approx(9)


class _Grows(Layer):
    """A layer that keeps every frame."""

    d_in = d_out = 4

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(4))

    def stream_spec(self):
        return StreamSpec()

    def init_state(self, batch, *, like=None, memory=None):
        return {"x": torch.zeros(batch, 0, 4)}

    def forward(self, x, memory=None):
        return x

    def step(self, x: Seq, state, memory=None):
        return x, {"x": torch.cat([state["x"], x.values], 1)}

    def frames(self, n):
        return n


def test_a_stream_that_grows_is_seen():
    found = growth.stream_growth("retnet", create("retnet", d_model=8, n_heads=2), (10, 30), rounds=2, block=8)
    assert found["state_constant"]
    assert [p["frames"] for p in found["points"]] == [10, 30]
    assert found["summary"].startswith("retnet: a step after 30 frames takes ")
    grown = growth.stream_growth("grows", _Grows(), (10, 30), rounds=2, block=8)
    assert not grown["state_constant"]
    assert [p["state_bytes"] for p in grown["points"]] == [160, 480]
    assert grown["summary"].endswith("state grows")


def test_growth_of_an_op_is_judged_a_doubling(monkeypatch):
    monkeypatch.setattr(growth, "peaks", lambda name, lengths: [1000 * n for n in lengths])
    spent = {"64": 16 * 10.0, "128": 8 * 20.0, "256": 4 * 44.0}
    monkeypatch.setattr(
        growth, "interleaved", lambda calls, *_, **__: {n: timing.Timing(t, t, t, t) for n, t in spent.items()}
    )
    monkeypatch.setattr(growth, "_repeated", lambda call, times: call)
    found = growth.op_growth("retention", (64, 128, 256))
    assert [p["us_p50"] for p in found["points"]] == [40.0, 80.0, 176.0]
    assert [p["time_ratio"] for p in found["points"]] == [None, 2.0, 2.2]
    assert not found["linear"]
    assert found["peak_bytes_per_frame"] == 1000
    assert found["input_bytes_per_frame"] == pytest.approx(3 * 4 * 64 * 4, rel=0.01)


def test_memory_counts_what_forward_and_backward_take():
    found = peaks("retention", [2048, 4096])
    assert isinstance(found, list), found
    gradients = 4 * 64 * 4 * 4 * 2048  # of q, k, v, and y, at 2048 frames
    assert gradients < found[0] < 20 * gradients
    assert 1.6 < found[1] / found[0] < 2.4


def test_growth_takes_no_peers(capsys):
    status, out, err = command(capsys, "growth", "--peers")
    assert (status, out) == (2, "")
    assert err == "error: bench growth: it has no peers\n"
    status, _, err = command(capsys, "ops", "--only", "retenton")
    assert status == 2
    assert "unknown row 'retenton'; did you mean 'retention'?" in err


def test_a_narrow_terminal_goes_without_the_spread(tiny):
    found = bench.bench_rows([ROWS["retention"]()], peers=True, rounds=1, limits=TINY)
    wide, narrow = (table.table(found, True, width) for width in (160, 80))
    titles = [str(c.header) for c in wide.columns]
    assert titles == [
        "op and size", "pass", "ours, ms", "5 to 95 %", "fastest peer", "peer, ms", "ratio", "must", "aim", "met",
        "of limit, %",
    ]  # fmt: skip
    assert {t for t in titles if t not in [c.header for c in narrow.columns]} == {"5 to 95 %", "aim", "of limit, %"}
    assert [list(c.cells) for c in narrow.columns][:2] == [["retention B2 L32 H2 K4 V4", ""], ["forward", "+ backward"]]
