"""The claim of attention and LSTM: parts with verdicts of their own, equal weights, and the experiment in seconds."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from claim_parts import drawn, quiet
from lamina.core.cost import params
from lamina.data import DataSet, Split
from lamina.layers import LSTM, WindowAttention
from lamina.reproduce import CLAIMS, Figure, Part, Plan, attention_lstm
from lamina.reproduce import record as records
from lamina.tasks import Task


def dataset() -> DataSet:
    """Digits as the claim has them, enough to build networks around."""
    part = Split(torch.randn(3, 20, 160), torch.tensor([[1, 2]] * 3), torch.tensor([20, 13, 8]))
    return DataSet("x", "audio", "ctc", part, part, part, "", n_classes=11)


def built(name: str, width: int = 32) -> Task:
    settings = {"width": width, "data": "x", "steps": 1, "batch_size": 2}
    return attention_lstm.order(name, settings, 0).build(dataset()).eval()


def judged(**scores: float | None) -> dict[str, dict[str, Any]]:
    rules = {"a": Figure("a", "a", most=1.15), "b": Figure("b", "b", least=1.15)}
    return {key: rules[key].judge([score]) for key, score in scores.items()}


@pytest.mark.parametrize(
    ("scores", "verdict", "ours"),
    [
        ({"a": 1.1, "b": 1.5}, "true", 1.1),
        ({"a": 1.2, "b": 1.5}, "false", 1.2),
        ({"a": 1.1, "b": 1.0}, "false", 1.1),
        ({"a": None, "b": 1.5}, "not measured", None),
    ],
)
def test_a_part_is_true_when_all_its_figures_keep_their_rules(
    scores: dict[str, float | None], verdict: str, ours: float | None
) -> None:
    assert Part("p", ("a", "b")).judge(judged(**scores)) == {"name": "p", "verdict": verdict, "ours": ours}
    assert Part("later").judge({}) == {"name": "later", "verdict": "not measured", "ours": None}


@pytest.mark.parametrize(
    ("score", "part", "verdict"),
    [(1.0, "true", "PASS"), (2.0, "false", "MEASURED"), (None, "not measured", "FAIL")],
)
def test_a_claim_of_parts_passes_when_all_that_are_due_are_true(score: float | None, part: str, verdict: str) -> None:
    plan = Plan((0,), {}, (Figure("a", "a", most=1.15),), "", (Part("p", ("a",)), Part("later")))
    trials = [{"figures": {"a": score}, "minutes": 0.1, "env": {}, "code": "0"}]
    found = records.record(CLAIMS["mlp"], "ci", plan, trials)
    assert [p["verdict"] for p in found["parts"]] == [part, "not measured"]
    assert found["verdict"] == verdict


def test_rules_are_those_of_the_claims() -> None:
    for tier, seeds in (("ci", (0,)), ("full", (0, 1, 2))):
        plan = attention_lstm.plan(tier)  # type: ignore[arg-type]
        assert plan.seeds == seeds
        assert {f.key: f.accept for f in plan.figures if f.accept} == {
            "stream_cost": "<= 1.15",
            "steps_differ": "<= 0",
            "unplaced_attention": ">= 1.15",
            "unplaced_attention_lstm": "<= 1.15",
            "flicker": "< 1",
        }
        due = {part.name: bool(part.figures) for part in plan.parts}
        assert due == {
            "streaming": True, "position": True, "smoothing": True, "quantization": False, "distillation": False,
        }  # fmt: skip


@pytest.mark.parametrize("width", [32, 64])
def test_all_have_equal_weights(width: int) -> None:
    counted = {name: params(built(name, width)) for name in attention_lstm.NETS}
    assert all(abs(n / counted["attention_lstm"] - 1) < 0.005 for n in counted.values()), counted


def test_only_the_mixers_and_what_is_varied_differ() -> None:
    kinds: dict[str, tuple[int, int]] = {}
    for name in attention_lstm.NETS:
        layers = list(built(name).modules())
        attention = [m for m in layers if isinstance(m, WindowAttention)]
        kinds[name.split("_whole")[0].split("_unplaced")[0]] = (
            len(attention), sum(isinstance(m, LSTM) for m in layers)
        )  # fmt: skip
        whole, placed = name.endswith("_whole"), not name.endswith("_unplaced")
        assert all((m.left, m.right) == ((None, None) if whole else (16, 0)) for m in attention)
        assert all(m.rotary == placed for m in attention)
    assert kinds == {"attention_lstm": (2, 1), "attention": (3, 0), "lstm": (0, 3)}


def test_ratios_are_of_all_seeds_together() -> None:
    keys = ["errors_attention_lstm", "errors_attention_lstm_whole", "errors_attention_unplaced", "errors_attention",
            "errors_attention_lstm_unplaced", "changes_attention_lstm", "changes_attention"]  # fmt: skip
    trials: list[dict[str, Any]] = [{"figures": dict.fromkeys(keys, 1.0)}, {"figures": dict.fromkeys(keys, 3.0)}]
    trials[1]["figures"]["errors_attention_lstm"] = 5.0
    assert attention_lstm.joint(trials) == {
        "stream_cost": 1.5, "unplaced_attention": 1.0, "unplaced_attention_lstm": 4 / 6, "flicker": 1.0,
    }  # fmt: skip
    trials[0]["figures"] |= {"errors_attention_lstm_whole": None, "changes_attention": 0.0}
    trials[1]["figures"] |= {"changes_attention": 0.0}
    found = attention_lstm.joint(trials)
    assert found["stream_cost"] is None  # a network that diverged
    assert found["flicker"] is None  # nothing to divide by


def test_changes_are_counted_on_real_frames_only(monkeypatch: pytest.MonkeyPatch) -> None:
    task, part = built("attention_lstm"), dataset().test
    path = torch.tensor([[0] * 5 + [3] * 5 + [0] * 10, [1, 2] * 10, [4] * 7 + [5] * 13])  # 2, 12 and 1 changes
    monkeypatch.setattr(task, "forward", lambda batch: torch.nn.functional.one_hot(path, 11).float())

    class Found:
        history = type("History", (), {"diverged": False})
        task: Any = None

    found: Any = Found()
    found.task = task
    assert attention_lstm._changes(found, part) == pytest.approx(15 / (41 * 0.04))


def test_steps_read_what_forward_reads_and_a_wrong_step_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    task, part = built("attention_lstm"), dataset().test
    assert attention_lstm._differ(task, part) == 0
    monkeypatch.setattr(attention_lstm, "run_steps", lambda layer, x: layer(x.with_values(-x.values)))
    assert attention_lstm._differ(task, part) > 0


def test_less_context_is_asked_of_the_same_network_and_given_back() -> None:
    task, batch = built("attention"), dataset().test.rows(torch.arange(3))
    before = task(batch)
    with attention_lstm._narrowed(task, 1):
        assert not torch.equal(task(batch), before)
    assert torch.equal(task(batch), before)


def test_the_experiment_in_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("lamina.data.digit_strings"), "HELD", (4, 20))
    plan = attention_lstm.plan("ci")
    settings = {**plan.settings, "data": "espeak_strings:train=16", "steps": 4, "contexts": [1, 16]}
    found = json.loads(json.dumps(attention_lstm.trial(settings, 100, tmp_path, quiet)))
    told = set(found["figures"]) | set(attention_lstm.joint([found]))
    assert {f.key for f in plan.figures} <= told
    assert found["figures"]["steps_differ"] == 0
    errors = {name: dict(curve) for name, curve in found["contexts"].items()}
    assert errors["attention"][16] == pytest.approx(found["figures"]["errors_attention"])  # as in training
    drawn(CLAIMS["attention_lstm"], settings, found)
