"""The harness as a tool: results, failures that say where, pytest's decorator, `lamina check`."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction

import pytest
import torch
from torch import nn

import trap_layers as traps
import trap_runners as runners
import trap_states as states
from lamina.cli import main
from lamina.core import Layer, NotStreamable, Residual, Seq, Serial, StreamSpec, UserError, check
from lamina.core.check import policy

MINE = '''
import torch
from torch import nn
from lamina.core import Layer, StreamSpec

class Sum(Layer):
    """The running sum of x W."""

    def __init__(self, d_model):
        super().__init__()
        self.d_in = self.d_out = d_model
        self.weight = nn.Parameter(torch.eye(d_model))

    def stream_spec(self):
        return StreamSpec()

    def init_state(self, batch, *, like=None, memory=None):
        return {"sum": self.like(like).new_zeros(batch, self.d_in)}

    def forward(self, x, memory=None):
        return x.with_values((x.zeroed() @ self.weight).cumsum(1))

    def step(self, x, state, memory=None):
        y = (x.zeroed() @ self.weight).cumsum(1) + START
        return x.with_values(y), {"sum": y[:, -1]}

class Odd(Sum):
    def __init__(self, colour):
        super().__init__(4)

class Plain(nn.Module):
    pass

class Half(Layer):
    pass

def broken():
    raise RuntimeError("no luck")

def nothing():
    return 3

ready = Sum(3)
'''


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine_layers.py"

    def write(right: bool = True) -> str:
        path.write_text(MINE.replace("START", 'state["sum"][:, None]' if right else "0"))
        return str(path)

    yield write
    sys.modules.pop("mine_layers", None)


def test_results_say_what_passed_and_how_long():
    results = check.check_layer(traps.Ahead(), ["shapes", "causal", "reason"], name="ahead")
    assert [(r.layer, r.check, r.status) for r in results] == [
        ("ahead", "shapes", "passed"), ("ahead", "causal", "passed"), ("ahead", "reason", "skipped"),
    ]  # fmt: skip
    assert results[2].message == "it streams"
    assert all(r.seconds >= 0 for r in results)


def test_a_failure_names_layer_law_frame_tensor_and_size():
    (result,) = check.check_layer(states.StateOnlyAlone(False), ["chunks"])
    assert result.status == "failed"
    assert (result.tensor, result.row) == ("values", 0)
    assert result.frame == 1  # the first step that goes on from a state and takes two frames
    assert result.size > 100 * result.allowed > 0
    for part in ("StateOnlyAlone: chunks: ", "row 0, frame 1", "steps of"):
        assert part in result.message


def test_a_failure_inside_a_composite_names_the_innermost_part():
    (result,) = check.check_layer(Serial(traps.Ahead(), Residual(states.StateOnlyAlone(False))), ["chunks"])
    assert result.status == "failed"
    assert result.part == "1.1"
    assert result.message.endswith("by itself 1.1 breaks it too")


def test_a_layer_that_does_not_stream_is_skipped_with_its_reason():
    results = {r.check: r for r in check.check_layer(Serial(traps.Ahead(), traps.MeanNorm()))}
    assert results["chunks"].status == results["onnx"].status == "skipped"
    assert results["chunks"].message == "1: needs the whole row"
    assert results["padding"].status == results["reason"].status == results["grad"].status == "passed"


def test_any_other_exception_is_a_failure_that_says_which():
    class Breaks(traps.Noisy):
        def forward(self, x: Seq, memory=None) -> Seq:
            raise ZeroDivisionError("by nothing")

    results = check.check_layer(Breaks(), ["shapes", "chunks"])
    assert [r.status for r in results] == ["failed", "failed"]
    assert results[0].message == "Breaks: shapes: raises ZeroDivisionError: by nothing"


def test_a_step_that_refuses_to_stream_behind_its_spec_is_a_failure():
    class Refuses(traps.Base):
        def step(self, x, state, memory=None):
            raise NotStreamable("not today")

        def forward(self, x: Seq, memory=None) -> Seq:
            return x.with_values(x.zeroed() @ self.weight)

    (result,) = check.check_layer(Refuses(), ["chunks"])
    assert result.status == "failed"
    assert "although stream_spec() gives a spec" in result.message


def test_unknown_laws_and_things_that_are_no_layer():
    with pytest.raises(UserError, match="unknown law 'chunk'; did you mean 'chunks'"):
        check.check_layer(traps.Ahead(), ["chunk"])
    with pytest.raises(TypeError, match=r"a lamina\.Layer"):
        check.check_layer(nn.Linear(2, 2))


def test_the_layer_under_test_is_left_alone_and_results_repeat():
    layer = traps.Counting().train()
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    first, again = (check.check_layer(layer, ["padding", "mode", "grad"]) for _ in range(2))
    assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())
    assert layer.training
    assert [r.status for r in first] == [r.status for r in again] == ["passed"] * 3
    draw = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(draw, torch.rand(1))  # the random state is the caller's own


def test_the_copy_under_test_is_perturbed_and_warm():
    case = check.Case(traps.Counting())
    assert not torch.equal(case.layer.weight, torch.eye(traps.D))
    assert case.layer.mean.abs().min() > 0
    assert case.truth.weight.dtype == torch.float64
    assert torch.equal(case.truth.weight.float(), case.layer.weight)


def test_inputs_are_long_enough_to_overflow_the_caches():
    class Wide(states.WindowMean):
        def init_state(self, batch, *, like=None, memory=None):
            return {"values": self.zeros(batch, 40, 4, like=like), "mask": self.zeros(batch, 40, like=like).bool()}

    assert check.Case(Wide()).frames > 40
    assert check.Case(traps.Halve()).frames % 2


def test_laws_are_listed_with_a_line_each_and_the_slow_ones_marked():
    assert list(check.LAWS) == [
        "shapes", "padding", "batch", "causal", "chunks", "flush", "captured", "grad", "state", "save", "pure", "hold",
        "rows", "absent", "aging", "mode", "reason", "export", "onnx", "compile", "config",
    ]  # fmt: skip
    assert all(len(law.about) > 20 and "\n" not in law.about for law in check.LAWS.values())
    assert {name for name, law in check.LAWS.items() if law.slow} == {"aging", "compile"}
    assert "aging" not in {law.name for law in check.choose()}


def test_the_policy_is_four_times_the_reference_or_the_rounding():
    truth = torch.tensor([1.0, 2.0], dtype=torch.float64)
    eps = torch.finfo(torch.float32).eps
    assert policy.tolerance(truth, truth, torch.float32) == pytest.approx(8 * eps)
    assert policy.tolerance(truth, truth + 0.1, torch.float32) == pytest.approx(0.4)
    assert policy.difference(torch.tensor([1.0, float("nan")]), torch.tensor([float("nan")] * 2)).tolist() == [
        float("inf"), 0.0,
    ]  # fmt: skip


def test_agree_looks_at_real_frames_only():
    mask = torch.tensor([[True, True, False]])
    truth = Seq(torch.tensor([[[1.0], [2.0], [float("nan")]]], dtype=torch.float64), mask)
    policy.agree(Seq(truth.values.float(), mask), truth, truth, "as it is")
    wrong = Seq(torch.tensor([[[1.0], [2.1], [7.0]]]), mask)
    with pytest.raises(check.LawError, match=r"row 0, frame 1 of 3: by 0.1, .* allowed \(about\)") as caught:
        policy.agree(wrong, truth, truth, "about")
    assert caught.value.frame == 1
    with pytest.raises(check.LawError, match="the mask differs first at row 0, frame 2 of 3: real, should be absent"):
        policy.agree(Seq(wrong.values, torch.ones(1, 3, dtype=torch.bool)), truth, truth, "about")
    with pytest.raises(check.LawError, match=r"values are \[1, 2, 1\], not \[1, 3, 1\]"):
        policy.agree(wrong.slice(0, 2), truth, truth, "about")


def test_parametrize_gives_named_tests_and_marks():
    mark = check.parametrize([traps.Ahead(), traps.Ahead, ("mine", traps.Halve)], ["chunks", "aging"]).mark
    assert mark.args[0] == ("case", "law")
    rows = mark.args[1]
    assert [r.id for r in rows] == [
        "Ahead-chunks", "Ahead-aging", "Ahead2-chunks", "Ahead2-aging", "mine-chunks", "mine-aging",
    ]  # fmt: skip
    assert [bool(r.marks) for r in rows] == [False, True] * 3
    case, law = rows[0].values
    law(case)
    case, law = check.parametrize([traps.MeanNorm()], ["chunks"]).mark.args[1][0].values
    with pytest.raises(pytest.skip.Exception, match="needs the whole row"):
        law(case)


def test_a_custom_streamer_is_held_to_flush():
    good, bad = check.Case(traps.Ahead()), check.Case(traps.Ahead(), streamer=runners.KeepsLast)
    assert [check.check_layer(c, ["flush"])[0].status for c in (good, bad)] == ["passed", "failed"]


def test_a_spec_that_makes_no_sense_is_named():
    class Thirds(traps.Noisy):
        def stream_spec(self) -> StreamSpec:
            return StreamSpec(block=2, ratio=Fraction(1, 3))

    (result,) = check.check_layer(Thirds(), ["shapes"])
    assert "a whole number of output frames a block" in result.message


def test_importing_the_harness_needs_no_test_package():
    late = ["pytest", "hypothesis", "onnx", "onnxruntime", "onnxscript"]
    code = f"import sys, lamina.core.check; print([m for m in {late} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found == "[]\n"


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["check", *arguments])
    out = capsys.readouterr()
    return int(caught.value.code or 0), out.out, out.err


def test_command_on_ones_own_file(capsys, mine):
    status, out, err = run(capsys, f"{mine()}:Sum", "--law", "chunks", "--law", "grad")
    assert (status, out) == (0, "Sum  2 passed\n1 layers, 2 checks, 0 failed\n")
    assert err == "Sum(d_model=8): small values for its arguments\n"
    assert run(capsys, f"{mine()}:ready", "--law", "chunks")[0] == 0


def test_command_fails_with_status_1_and_says_where(capsys, mine):
    status, out, _ = run(capsys, f"{mine(right=False)}:Sum", "--json", "--law", "chunks", "--law", "shapes")
    found = json.loads(out)
    assert status == 1
    assert (found["layers"], found["checks"], found["skipped"]) == (1, 2, [])
    (failed,) = found["failed"]
    assert (failed["layer"], failed["check"], failed["tensor"], failed["frame"]) == ("Sum", "chunks", "values", 1)
    assert failed["size"] > failed["allowed"]
    status, out, _ = run(capsys, f"{mine(right=False)}:Sum", "--law", "chunks")
    assert "FAILED Sum: chunks: values differ first at row 0, frame 1" in out


def test_command_knows_laminas_own_layers(capsys):
    status, out, _ = run(capsys, "Bidirectional", "Linear", "--json", "--law", "chunks")
    found = json.loads(out)
    assert (status, found["layers"], found["checks"], found["failed"]) == (0, 2, 1, [])
    assert found["skipped"] == [
        {"layer": "Bidirectional", "check": "chunks", "reason": "1.0: the backward direction starts at the last frame"}
    ]


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("{}:Summ", "unknown layer 'Summ'; did you mean 'Sum'?"),
        ("{}:Odd", "no small value is known for colour; write a function without arguments"),
        ("{}:Plain", "a torch.nn.Module, not a lamina.Layer"),
        ("{}:Half", "abstract; write forward, init_state, step, stream_spec"),
        ("{}:broken", "making it raises RuntimeError: no luck"),
        ("{}:nothing", "gives a int, not a lamina.Layer"),
        ("{}", "which layer? write"),
        ("no_such_file.py:Sum", "no_such_file.py: no such file"),
        ("no_such_module:Sum", "no module 'no_such_module'"),
        ("LSTN", "unknown layer 'LSTN'; did you mean 'LSTM'?"),
    ],
)
def test_command_refuses_bad_input_in_one_line(capsys, mine, target, says):
    status, out, err = run(capsys, target.format(mine()), "--law", "shapes")
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_command_names_the_nearest_law(capsys):
    status, _, err = run(capsys, "Linear", "--law", "chunk")
    assert (status, err) == (2, "error: unknown law 'chunk'; did you mean 'chunks'?\n")


def test_all_laminas_layers_are_known_by_unlike_names():
    from lamina.models import check_layers

    names = [name for name, layer in check_layers() if isinstance(layer, Layer)]
    assert len(names) == len(set(names)) > 30
