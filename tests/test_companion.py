"""Companion losses: their value by hand, whom they reach, when they let go, and that scoring knows nothing of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from claim_parts import drawn, quiet
from lamina import data, models
from lamina.cli import main
from lamina.cli.train import taps_of
from lamina.core import Layer, Serial, UserError
from lamina.data import DataSet
from lamina.layers import GRU, Linear, Subsample
from lamina.reproduce import CLAIMS, TIERS
from lamina.tasks import Classify, DeeplySupervised, Task, companion_paths, make
from lamina.train import Order, checkpoint, evaluate, fit, load_run, train_run
from task_parts import ragged
from train_parts import QUICK, Killed, equal, killed_at, parity, small

SEQUENCE = SimpleNamespace(name="mine", view="sequence")
IMAGE = SimpleNamespace(name="mine", view="image")


def stack() -> Layer:
    return Serial(GRU(6, 5), Subsample(5, 7, 2), GRU(7, 4))


def supervised(dataset: DataSet, paths: tuple[str, ...] = ("0", "1"), **how: float) -> DeeplySupervised:
    torch.manual_seed(1)
    return DeeplySupervised(make(dataset, SEQUENCE, stack()), paths, **how).train()


class Picture(nn.Module):
    """Two convolutions and a head: images [B,1,8,8] -> [B,10]."""

    image_shape = (1, 8, 8)
    d_in, d_out = (1, 8, 8), 10

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, 3, stride=2)
        self.head = nn.Linear(4 * 2 * 2, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.high(self.low(x).relu()).relu().flatten(1))


def regions(maps: torch.Tensor) -> torch.Tensor:
    """The means of 4x4 regions of maps [B,C,6,6] and [B,C,2,2]; where six do not divide by four, regions overlap."""
    if maps.shape[-1] == 2:
        return maps.repeat_interleave(2, 2).repeat_interleave(2, 3).flatten(1)
    ends = [(0, 2), (1, 3), (3, 5), (4, 6)]
    means = [maps[:, :, a:b, c:d].mean((2, 3)) for a, b in ends for c, d in ends]
    return torch.stack(means, 2).flatten(1)


def test_the_loss_is_the_sum_written_by_hand() -> None:
    dataset = ragged()
    task = supervised(dataset, weight=0.4)
    task.done = 0.25
    batch = dataset.train.rows(slice(None))
    hidden = [task.stem(task.view(batch["x"], batch["lengths"]))]
    for layer in task.backbone.children():
        hidden.append(layer(hidden[-1]))
    heads = [(hidden[3], task.head, 1.0), *((hidden[i + 1], task.companions[i], 0.4 * 0.75) for i in range(2))]
    wanted = 0.0
    for seq, head, weight in heads:
        for row, frames in enumerate(seq.lengths()):
            logits = seq.values[row, :frames].mean(0) @ head.weight.T + head.bias
            wanted += weight * -logits.log_softmax(-1)[batch["y"][row]].item()
    loss, count = task.loss(batch)
    assert loss.item() == pytest.approx(wanted, rel=1e-5)
    assert float(count) == 9


def test_the_loss_of_an_image_model_is_the_sum_written_by_hand() -> None:
    digits = data.load("digits")
    torch.manual_seed(0)
    task = make(digits, IMAGE, Picture(), companions=["low", "high"]).train()
    batch = digits.train.rows(slice(0, 5))
    low = task.backbone.low(task.view(batch["x"]))
    high = task.backbone.high(low.relu())
    logits = [task.backbone.head(high.relu().flatten(1))]
    logits += [regions(h) @ head.weight.T + head.bias for h, head in zip((low, high), task.companions, strict=True)]
    losses = [F.cross_entropy(l, batch["y"], reduction="sum").item() for l in logits]
    assert task.loss(batch)[0].item() == pytest.approx(losses[0] + task.weight * (losses[1] + losses[2]), rel=1e-5)


def test_a_companion_pulls_only_what_lies_below_it() -> None:
    dataset = ragged()
    task = supervised(dataset, ("1",))
    batch = dataset.train.rows(slice(None))
    answers = task(batch)
    task.alone.criterion(answers.companions[0], batch)[0].backward()
    reached = {name.split(".")[1] for name, p in task.backbone.named_parameters(prefix="b") if p.grad is not None}
    assert reached == {"0", "1"}
    assert all(p.grad is not None for p in [*task.stem.parameters(), *task.companions.parameters()])
    assert all(p.grad is None for p in task.head.parameters())
    for at, heads in (("0", 0), ("1", 1), ("2", 0)):  # with the task's own loss: twice the pull below, once above
        both, own = (_gradient(dataset, at, companion) for companion in (True, False))
        assert torch.equal(both, own) == (at == "2"), (at, heads)


def _gradient(dataset: DataSet, at: str, companion: bool) -> torch.Tensor:
    """Of the first weight of the backbone's child `at`."""
    task = supervised(dataset, ("1",))
    batch = dataset.train.rows(slice(None))
    (task if companion else task.alone).loss(batch)[0].backward()
    return next(task.backbone.get_submodule(at).parameters()).grad


def test_a_companion_below_gamma_pulls_no_more() -> None:
    dataset = ragged()
    batch = dataset.train.rows(slice(None))
    free = supervised(dataset, ("0",), weight=0.5)
    own, companion = (free.alone.criterion(p, batch)[0].item() for p in (free(batch).own, free(batch).companions[0]))
    assert free.loss(batch)[0].item() == pytest.approx(own + 0.5 * companion, rel=1e-6)
    gamma = companion / 9 - 0.1
    near = supervised(dataset, ("0",), weight=0.5, gamma=gamma)
    assert near.loss(batch)[0].item() == pytest.approx(own + 0.5 * 0.1 * 9, rel=1e-5)
    far = supervised(dataset, ("0",), weight=0.5, gamma=companion / 9 + 0.1)
    loss, _ = far.loss(batch)
    loss.backward()
    assert loss.item() == pytest.approx(own, rel=1e-6)
    assert all(not p.grad.any() for p in far.companions.parameters())


def test_the_weight_falls_in_a_line_over_the_training() -> None:
    dataset = parity()
    task = DeeplySupervised(small(dataset), ("0",), weight=0.8)
    weights: list[float] = []
    criterion = task.criterion

    def watched(prediction, batch):
        if task.training:
            own = task.alone.criterion(prediction.own, batch)[0]
            companion = task.alone.criterion(prediction.companions[0], batch)[0]
            weights.append(((criterion(prediction, batch)[0] - own) / companion).item())
        return criterion(prediction, batch)

    task.criterion = watched
    fit(task, dataset, **QUICK)
    assert weights == pytest.approx([0.8 * (1 - t / 12) for t in range(12)], rel=1e-4)


@pytest.mark.parametrize("kind", ["classify", "regress"])
def test_a_ragged_batch_costs_what_its_rows_cost_alone(kind: str) -> None:
    dataset = ragged(kind)
    task = supervised(dataset)
    whole = dataset.train.rows(slice(None))
    loss, count = task.loss(whole)
    alone = [0.0, 0.0]
    for row, length in enumerate(dataset.train.lengths):
        part, n = task.loss({"x": whole["x"][row : row + 1, :length], "y": whole["y"][row : row + 1]})
        alone = [alone[0] + part.item(), alone[1] + n.item()]
    assert loss.item() == pytest.approx(alone[0], rel=1e-5)
    assert float(count) == alone[1]
    (loss / count).backward()
    assert all(torch.isfinite(p.grad).all() for p in task.parameters())


def test_a_language_model_and_recall_are_supervised_at_the_frames_that_ask() -> None:
    dataset = data.load("mqar:pairs=2,length=16,vocab=32")
    torch.manual_seed(0)
    model = models.create("transformer", d_model=8, n_layers=2)
    task = make(dataset, models.find("transformer"), model, companions=1).train()
    batch = dataset.train.rows(slice(0, 4))
    answers = task(batch)
    asked = int((batch["y"] >= 0).sum())
    assert task.paths == ("1",)
    assert answers.own.shape == answers.companions[0].shape == (asked, dataset.n_out)


def test_scores_and_the_streaming_form_know_nothing_of_companions() -> None:
    dataset = ragged()
    task = supervised(dataset)
    plain = task.alone
    batch = dataset.train.rows(slice(None))
    assert evaluate(task, dataset.test) == evaluate(plain, dataset.test)
    task.eval()
    assert not plain.training
    assert torch.equal(task(batch), plain(batch))
    assert task.loss(batch)[0] == plain.loss(batch)[0]
    assert not any(module._forward_hooks for module in task.modules())
    assert {id(p) for p in task.encoder().parameters()} == {id(p) for p in plain.encoder().parameters()}
    extra = set(task.state_dict()) - set(plain.state_dict())
    assert set(plain.state_dict()) < set(task.state_dict())
    assert extra == {f"companions.{i}.{w}" for i in (0, 1) for w in ("weight", "bias")}


def test_with_and_without_companions_a_network_begins_alike() -> None:
    digits = data.load("digits")
    with_, without = (Order("dsn", {"channels": 2}, "digits", companions=c).build(digits) for c in (None, 0))
    assert isinstance(with_, DeeplySupervised)
    assert type(without) is Classify
    state = with_.state_dict()
    assert all(torch.equal(t, state[name]) for name, t in without.state_dict().items())


def test_an_interrupted_training_goes_on_bit_equal(tmp_path: Path) -> None:
    dataset = parity()

    def task() -> Task:
        torch.manual_seed(0)
        return DeeplySupervised(small(dataset), ("0",), gamma=0.2)

    whole, resumed = task(), task()
    fit(whole, dataset, **QUICK)
    with pytest.raises(Killed):
        fit(task(), dataset, **QUICK, out=tmp_path, checkpoint_every=4, on_step=killed_at(10))
    fit(resumed, dataset, **QUICK, out=tmp_path, checkpoint_every=4)
    assert equal(whole, resumed)
    other = DeeplySupervised(small(dataset), ("1",), gamma=0.2)
    with pytest.raises(UserError, match=r"holds another run \(companions \['0'\], here \['1'\]\)"):
        fit(other, dataset, **QUICK, out=tmp_path)


def test_a_run_keeps_the_network_and_not_the_companions(tmp_path: Path) -> None:
    digits = data.load("digits")
    order = Order("gru", {"d_model": 8, "n_layers": 3}, "digits", steps=6, companions=["0", "1"])
    facts = train_run(order, digits, tmp_path / "run")
    assert facts["order"]["companions"] == ["0", "1"]
    assert train_run(order, digits, tmp_path / "run") == json.loads((tmp_path / "run" / "run.json").read_text())
    found = load_run(tmp_path / "run")
    assert type(found.task) is Classify
    assert evaluate(found.task, digits.dev) == pytest.approx(facts["result"]["dev"], abs=1e-7)
    assert facts["result"]["params"] == sum(p.numel() for p in found.task.parameters())
    plain = Order("gru", {"d_model": 8, "n_layers": 3}, "digits", steps=6)
    with pytest.raises(UserError, match="holds another run"):
        train_run(plain, digits, tmp_path / "run")
    other = train_run(plain, digits, tmp_path / "plain")
    assert other["result"]["loss"] != facts["result"]["loss"]


def test_the_command_line_takes_a_number_or_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "dsn", "digits", "--steps", "2", "--set", "channels=2", "--json", "--out"]
    with pytest.raises(SystemExit) as ended:
        main([*command, str(tmp_path / "run"), "--companions", "stages.0,stages.2"])
    assert ended.value.code == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["order"]["companions"] == ["stages.0", "stages.2"]
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([*command, str(tmp_path / "other"), "--companions", "stages.9"])
    assert ended.value.code == 2
    assert "unknown tap 'stages.9'; did you mean 'stages." in capsys.readouterr().err
    assert [taps_of(text) for text in (None, "0", "2", "1,", "0, 1.body")] == [None, 0, 2, ["1"], ["0", "1.body"]]


@pytest.mark.slow
def test_two_processes_lose_what_one_does(tmp_path: Path) -> None:
    command = ["-m", "lamina", "train", "lstm", "digits", "--steps", "4", "--set", "n_layers=3", "--companions", "1"]
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]
    found = {}
    for name, how in (("one", []), ("two", launch)):
        words = [sys.executable, *how, *command, "--json", "--out", str(tmp_path / name)]
        ran = subprocess.run(words, capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stderr
        found[name] = json.loads(ran.stdout.splitlines()[-1])
    processes = {name: checkpoint.latest(tmp_path / name / "checkpoints")[1]["run"]["processes"] for name in found}
    assert processes == {"one": 1, "two": 2}  # they really were two
    assert found["two"]["loss"] == pytest.approx(found["one"]["loss"], rel=1e-5)
    assert found["one"]["params"] == found["two"]["params"]


@pytest.mark.parametrize(
    ("name", "keys", "n", "paths"),
    [
        ("lstm", {"n_layers": 3}, 2, ("0", "1")),
        ("transformer", {"n_layers": 2}, 1, ("1",)),
        ("yoco", {"n_layers": 4}, 1, ("0.1",)),
        ("bert", {"n_layers": 2}, 1, ("2.body.2",)),
        ("lenet", {}, 2, ("features.0", "features.1")),
        ("dsn", {}, 1, ("stages.1",)),
        ("dsn", {}, None, ("stages.0", "stages.1", "stages.2")),
        ("lstm", {}, None, ()),
        ("lstm", {}, 0, ()),
    ],
)
def test_companions_are_evenly_spaced(name: str, keys: dict[str, int], n: int | None, paths: tuple[str, ...]) -> None:
    assert companion_paths(models.create(name, **keys), n) == paths


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["1.gru"], "unknown tap '1.gru'"),
        (4, "companions=4: Serial has 4 parts, of which the last has the head"),
        (["0.linear"], "gives no frames of one width and no maps at '0.linear'; choose another path"),
    ],
)
def test_wrong_paths_say_what_to_do(paths: int | list[str], message: str) -> None:
    backbone = Serial(Linear(6, 6), stack())
    with pytest.raises(UserError) as error:
        make(ragged(), SEQUENCE, backbone, companions=paths)
    assert message in str(error.value)


@pytest.mark.parametrize(("weight", "gamma"), [(0.0, 0.0), (-1.0, 0.0), (float("nan"), 0.0), (0.3, -0.1)])
def test_a_weight_is_above_zero_and_gamma_not_below(weight: float, gamma: float) -> None:
    with pytest.raises(UserError, match="must be above 0, gamma"):
        supervised(ragged(), weight=weight, gamma=gamma)


def test_the_claims_experiment_at_a_small_size(tmp_path: Path) -> None:
    claim = CLAIMS["dsn"]
    settings = {
        "data": "digits",
        "keys": {"channels": 4, "n_layers": 1},
        "sizes": [[250, 60], [1000, 120]],
        "batch_size": 32,
        "rates": [1e-2],
    }
    found = claim.trial(settings, 100, tmp_path, quiet)
    figures = found["figures"]
    assert set(figures) >= {f.key for f in claim.plan("ci").figures}
    assert all(figures[f"less_{n}"] == figures[f"with_{n}"] - figures[f"without_{n}"] for n in (250, 1000))
    assert figures["with_1000"] < 30
    assert figures["early_with_1000"] < 15  # 64 numbers of a place each, and a linear classifier
    drawn(claim, settings, found)
    for name in figures:  # a diverged network has no score, and its picture no dot
        lost = {**found, "figures": {**figures, name: None}}
        drawn(claim, settings, lost)


def test_the_claims_rules_are_on_1k_and_5k_images() -> None:
    rules = {tier: {f.key: f.accept for f in CLAIMS["dsn"].plan(tier).figures if f.accept} for tier in TIERS}
    assert rules == {"ci": {"less_1000": "< 0 %"}, "full": {"less_1000": "< 0 %", "less_5000": "< 0 %"}}
    assert len(CLAIMS["dsn"].plan("full").seeds) == 3
