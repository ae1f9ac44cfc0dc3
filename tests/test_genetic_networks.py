"""Networks as candidates: a population is one stacked network; training without a gradient; the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, nn

from lamina import data
from lamina.cli import main
from lamina.core import UserError
from lamina.train import Order, evaluate, train_run
from lamina.train.genetic.fit import fit_genetic
from lamina.train.genetic.weights import Weights


@pytest.mark.parametrize(
    ("model", "of", "keys"),
    [
        ("mlp", "digits", {}),
        ("lstm", "digits", {"d_model": 16}),
        ("lenet", "digits", {}),
        ("mamba", "digits", {"d_model": 16}),
        ("transformer", "digits", {"d_model": 16, "n_heads": 2}),
        ("deltanet", "mqar:pairs=4,length=32", {"d_model": 16, "n_heads": 2}),
    ],
)
def test_a_stacked_population_computes_what_each_network_does(model: str, of: str, keys: dict[str, Any]) -> None:
    dataset = data.load(of)
    task = Order(model, keys, of).build(dataset).eval()
    space, batch = Weights(task), dataset.train.rows(slice(0, 5))
    population = space.start(3, Generator().manual_seed(0))
    assert torch.equal(population[0], torch.cat([p.detach().flatten() for p in task.parameters()]))
    stacked = space.outputs(population, lambda module: module(batch))
    assert not torch.allclose(stacked[0], stacked[1])
    for candidate, found in zip(population, stacked, strict=True):
        space.put(candidate)
        with torch.no_grad():
            torch.testing.assert_close(found, task(batch), rtol=1e-4, atol=1e-5)


def test_a_network_that_cannot_be_stacked_is_told_plainly() -> None:
    class Looks(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if float(self.weight.sum()) > 0 else -x

    space = Weights(Looks(2, 2))
    with pytest.raises(UserError, match=r"Looks: a population of it cannot be computed at once .* train it by adamw"):
        space.outputs(space.start(2, Generator()), lambda module: module(torch.ones(1, 2)))


def test_the_spread_of_a_weight_is_that_of_its_tensor() -> None:
    module = nn.Sequential(nn.Linear(3, 50), nn.Linear(50, 4))
    nn.init.zeros_(module[0].bias)
    space, tensors = Weights(module), [p.detach() for p in module.parameters()]
    spreads = space.scale.split(space.sizes)
    for at in (0, 2, 3):
        assert spreads[at].tolist() == pytest.approx([float(tensors[at].std(correction=0))] * len(spreads[at]))
    others = [float(tensors[at].std(correction=0)) for at in (0, 2, 3)]
    assert float(spreads[1][0]) == pytest.approx(sum(others) / 4, rel=1e-5)  # the mean counts the 0


SMALL = {"steps": 30, "lr": 0.02, "batch_size": 32}


def small_task(seed: int = 0) -> Any:
    return Order("mlp", {"d_model": 64, "d_ff": 12}, "digits", seed=seed).build(data.load("digits"))


def test_it_learns_without_a_gradient_and_the_seed_decides() -> None:
    dataset, found = data.load("digits"), []
    for seed in (1, 1, 2):
        task = small_task()
        for p in task.parameters():
            p.register_hook(lambda grad: pytest.fail("a gradient was taken"))
        before = evaluate(task, dataset.dev)
        history = fit_genetic(task, dataset, seed=seed, **SMALL)
        assert history.loss[-1][1] < history.loss[0][1]
        assert evaluate(task, dataset.dev) == history.dev[-1][1] > before + 0.1
        found.append(task.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert any(not torch.equal(found[0][name], found[2][name]) for name in found[0])


def test_a_training_goes_on_bit_equal(tmp_path: Path) -> None:
    dataset, whole, halves = data.load("digits"), small_task(), small_task()
    expected = fit_genetic(whole, dataset, seed=0, **SMALL)

    def killed(step: int, loss: float) -> None:
        if step == 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_genetic(halves, dataset, seed=0, out=tmp_path, on_step=killed, **SMALL)
    again, steps = small_task(seed=9), []
    history = fit_genetic(again, dataset, seed=0, out=tmp_path, on_step=lambda step, _: steps.append(step), **SMALL)
    assert steps[0] == 16  # the last checkpoint was of step 15
    assert history.loss == expected.loss
    assert all(torch.equal(t, whole.state_dict()[name]) for name, t in again.state_dict().items())
    with pytest.raises(UserError, match="holds another run"):
        fit_genetic(small_task(), dataset, seed=4, out=tmp_path, **SMALL)


def test_train_genetic_and_eval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    order = ["train", "mlp", "digits", "--optim", "genetic", "--steps", "30", "--lr", "0.02", "--set", "d_ff=12"]
    with pytest.raises(SystemExit) as stop:
        main([*order, "--out", str(run), "--json"])
    assert stop.value.code == 0
    told = json.loads(capsys.readouterr().out)
    names = {"run.json", "config.json", "model.safetensors", "task.safetensors", "history.json"}
    assert names <= {path.name for path in run.iterdir()}
    assert json.loads((run / "run.json").read_text())["order"]["optim"] == "genetic"
    with pytest.raises(SystemExit):
        main(["eval", str(run), "--part", "dev", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["score"] == told["dev"] > 0.2  # ten classes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"optim": "genetics"}, "did you mean 'genetic'"),
        ({"optim": "genetic", "companions": 1}, "companions are further"),
    ],
)
def test_bad_orders_are_told_plainly(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    order = Order("mlp", {}, "digits", **change)
    with pytest.raises(UserError, match=said):
        train_run(order, data.load("digits"), tmp_path)


OWN = """
import torch
from lamina.train.genetic import one_by_one

def score(bits):
    return bits[:, :3].sum(1) - bits[:, 3:].sum(1)

@one_by_one
def cost(x):
    return sum((value - 0.5) ** 2 for value in x.tolist())
"""


def said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["evolve", *arguments])
    shown = capsys.readouterr()
    return int(stop.value.code or 0), shown.out, shown.err


def test_evolve_a_function_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own_fitness.py").write_text(OWN)
    own, out = tmp_path / "own_fitness.py", tmp_path / "best.json"
    status, shown, err = said([f"{own}:score", "--genes", "8", "--generations", "30", "--out", str(out)], capsys)
    assert (status, err) == (0, "")
    assert "best fitness 3 " in shown
    assert "candidate: 11100000" in shown
    found = json.loads(out.read_text())
    assert found["candidate"] == [1, 1, 1, 0, 0, 0, 0, 0]
    assert len(found["course"]["best"]) == 31
    reals = ["--genes", "2", "--bounds=-1,1", "--minimise", "--population", "30", "--json"]
    status, shown, _ = said([f"{own}:cost", *reals], capsys)
    assert status == 0
    assert json.loads(shown)["candidate"] == pytest.approx([0.5, 0.5], abs=0.02)
    assert json.loads(shown)["best"] == min(json.loads(shown)["course"]["best"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["onemacs"], "unknown problem 'onemacs'; did you mean 'onemax'?"),
        (["nowhere.py:score"], "nowhere.py: no such file"),
        (["mine.py"], "which function? write mine.py:score"),
        (["onemax", "--minimise"], "--minimise is for a function of your own"),
        (["onemax", "--bounds=0,1"], "--bounds: onemax is of bits"),
        (["sphere", "--bounds=1"], "not two numbers"),
        (["sphere", "--bounds=1,0"], "bounds 1 and 0"),
        (["sphere", "--mutation", "flip"], "mutation flip: is not for real numbers"),
        (["onemax", "--elites", "100"], "elites 100 of a population of 100"),
    ],
)
def test_bad_orders_to_evolve(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, shown, err = said(arguments, capsys)
    assert (status, shown) == (2, "")
    assert expected in err
    assert err.count("\n") == 1
