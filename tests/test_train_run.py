"""Run folders, and the commands train and eval."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from lamina import data
from lamina.cli import eval as eval_command
from lamina.cli import train as train_command
from lamina.core import UserError
from lamina.train import Order, evaluate, evaluate_run, fit, load_run, train_run
from train_parts import Killed, equal, killed_at

ORDER = Order("gru", {"d_model": 8, "n_layers": 1}, "digits", steps=10, lr=1e-2, seed=2, batch_size=16)


def test_a_run_folder_is_read_back_as_it_was_trained(tmp_path: Path) -> None:
    dataset = data.load("digits")
    facts = train_run(ORDER, dataset, tmp_path / "run")
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert {"run.json", "config.json", "model.safetensors", "task.safetensors", "history.json", "checkpoints"} <= names
    assert not any(n.endswith(".part") for n in names)
    assert (facts["status"], facts["result"]["metric"], facts["result"]["steps"]) == ("done", "accuracy", 10)
    run = load_run(tmp_path / "run")
    assert evaluate_run(run, "dev")["score"] == facts["result"]["dev"]
    direct = ORDER.build(dataset)
    fit(direct, dataset, steps=10, lr=1e-2, seed=2, batch_size=16)
    assert equal(run.task, direct)
    test = evaluate_run(run, "test")
    assert test == {"part": "test", "metric": "accuracy", "better": "higher", "score": test["score"], "examples": 359}
    assert test["score"] == evaluate(direct, dataset.test)
    with pytest.raises(UserError, match="unknown part 'tset'"):
        evaluate_run(run, "tset")


def test_a_killed_run_goes_on_by_the_same_order(tmp_path: Path) -> None:
    dataset = data.load("digits")
    train_run(ORDER, dataset, tmp_path / "whole")
    with pytest.raises(Killed):
        train_run(ORDER, dataset, tmp_path / "cut", on_step=killed_at(7))
    with pytest.raises(UserError, match="not finished; give the same `lamina train` command again"):
        load_run(tmp_path / "cut")
    train_run(ORDER, dataset, tmp_path / "cut")
    for name in ("model.safetensors", "task.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    histories = [json.loads((tmp_path / n / "history.json").read_text()) for n in ("cut", "whole")]
    assert histories[0]["loss"] == histories[1]["loss"]
    again = train_run(ORDER, dataset, tmp_path / "cut", on_step=killed_at(1))
    assert again["status"] == "done"


def test_runs_on_fresh_examples_and_on_windows_of_a_text_go_on_bit_equal(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_bytes(bytes(i * i % 251 for i in range(8000)))
    for name in ("mqar:pairs=2,length=12,vocab=8", str(tmp_path / "mine.txt")):
        dataset = data.load(name)
        order = Order("gru", {"d_model": 8, "n_layers": 1}, name, steps=10, lr=1e-2, seed=2, batch_size=4)
        train_run(order, dataset, tmp_path / dataset.name / "whole")
        with pytest.raises(Killed):
            train_run(order, dataset, tmp_path / dataset.name / "cut", on_step=killed_at(7))
        facts = train_run(order, dataset, tmp_path / dataset.name / "cut")
        one, other = (load_run(tmp_path / dataset.name / n) for n in ("cut", "whole"))
        assert equal(one.task, other.task)
        assert evaluate_run(one, "dev")["score"] == facts["result"]["dev"]


def test_folders_that_are_not_this_runs(tmp_path: Path) -> None:
    dataset = data.load("digits")
    train_run(ORDER, dataset, tmp_path / "run")
    other = Order("gru", {"d_model": 8, "n_layers": 1}, "digits", steps=10, lr=2e-2, seed=2, batch_size=16)
    with pytest.raises(UserError, match=r"holds another run \(lr 0.01, here 0.02\); choose another --out or remove it"):
        train_run(other, dataset, tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not touch")
    with pytest.raises(UserError, match=r"holds other files and no run\.json; choose another --out"):
        train_run(ORDER, dataset, tmp_path / "mine")
    with pytest.raises(UserError, match=r"thesis\.txt: is a file"):
        train_run(ORDER, dataset, tmp_path / "mine" / "thesis.txt")
    with pytest.raises(UserError, match=r"holds no run\.json"):
        load_run(tmp_path / "mine")


def test_a_run_of_other_data_is_refused(tmp_path: Path) -> None:
    train_run(ORDER, data.load("digits"), tmp_path)
    facts = json.loads((tmp_path / "run.json").read_text())
    facts["data"]["digest"] = "0" * 16
    (tmp_path / "run.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="the data 'digits' has changed since this run was trained"):
        load_run(tmp_path)


@pytest.fixture
def run_command():
    app = typer.Typer()
    train_command.register(app)
    eval_command.register(app)
    return lambda *words: CliRunner().invoke(app, [str(w) for w in words])


def test_the_commands_train_and_score(run_command, tmp_path: Path) -> None:
    words = ["train", "gru", "digits", "--steps", 6, "--set", "d_model=8", "--out", tmp_path / "r", "--seed", 2]
    done = run_command(*words, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["status"], found["model"], found["steps"], found["metric"]) == ("done", "gru", 6, "accuracy")
    for part in ("dev", "test"):
        scored = json.loads(run_command("eval", tmp_path / "r", "--part", part, "--json").stdout)
        assert (scored["model"], scored["data"], scored["part"]) == ("gru", "digits", part)
        assert part == "test" or scored["score"] == found["dev"]
    assert "accuracy" in run_command("eval", tmp_path / "r").stdout
    assert "lamina eval" in run_command(*words).stdout  # finished: says the same again


def test_the_commands_refuse_in_one_line(run_command, tmp_path: Path) -> None:
    out = ["--out", tmp_path / "r", "--steps", 2]
    for words, message in (
        (["train", "lstn", "digits"], "did you mean 'lstm'"),
        (["train", "lstm", "digitz"], "did you mean 'digits'"),
        (["train", "lstm", "digits", "--set", "d_modle=3"], "did you mean 'd_model'"),
        (["train", "lstm", "digits", "--set", "d_model"], "not KEY=VALUE"),
        (["train", "lenet", "adding"], "needs images; adding is a sequence"),
        (["train", "lstm", "digits", "--lr", "0"], "lr must be above 0"),
        (["train", "lstm", "digits", "--params", "many"], "write it like 60k"),
    ):
        error = run_command(*words, *out).exception
        assert isinstance(error, UserError), (words, error)
        assert message in str(error)
        assert "\n" not in str(error)
        assert not (tmp_path / "r").exists()  # nothing half-written


def test_sizes_and_keys_as_words() -> None:
    assert [train_command.number(t, "") for t in ("60k", "1.5M", "61706")] == [60000, 1500000, 61706]
    assert train_command.keys_of(["d-model=64", "norm=post", "rotary=false", "left=null"]) == {
        "d_model": 64,
        "norm": "post",
        "rotary": False,
        "left": None,
    }


def test_images_that_are_no_squares(tmp_path):
    path, random = tmp_path / "wide.npz", np.random.default_rng(0)
    np.savez(path, x=random.random((60, 1, 8, 12), dtype=np.float32), y=np.arange(60) % 3)
    wide = data.load(str(path))
    keys = {"channels": [4, 8], "attention": [], "noise_steps": 100}
    task = Order("ddpm", keys, str(path), ema=0.0).build(wide)
    assert task.sample(2, seed=0, steps=2).shape == (2, 1, 8, 12)
    with pytest.raises(UserError, match="gan makes square images; wide has 8x12: pad them, or take ddpm"):
        Order("gan", {}, str(path)).build(wide)


def test_a_run_of_before_a_key_was_known_is_the_same_run(tmp_path):
    digits = data.load("digits")
    order = Order("mlp", {"d_ff": 8}, "digits", steps=3)
    facts = train_run(order, digits, tmp_path / "run")
    older = json.loads((tmp_path / "run" / "run.json").read_text())
    del older["order"]["ema"], older["order"]["optim"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(older))
    assert train_run(order, digits, tmp_path / "run")["result"] == facts["result"]
    with pytest.raises(UserError, match=r"holds another run \(optim adamw, here genetic\)"):
        train_run(Order(**{**vars(order), "optim": "genetic"}), digits, tmp_path / "run")
