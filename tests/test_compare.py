"""The comparison as it runs: what it leaves behind, and that a killed run goes on to the same results."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from lamina import data
from lamina.cli import main
from lamina.compare import latency, pool
from lamina.compare.budget import LIMIT
from lamina.compare.engine import compare
from lamina.compare.folder import Folder
from lamina.compare.plan import Entry, Job, Plan, Settings
from lamina.compare.results import Records, chance, results
from lamina.compare.watch import Watcher
from lamina.core.config import UserError
from lamina.tasks import Metric

MEASURED = ("created", "env", "seconds", "train_s", "step_ms_p50", "step_ms_p95", "step_ms_p99")
SMALL = Settings(models=("mlp", "rnn"), params=3000, steps=30, seeds=2, lr_grid=(0.003, 0.03, 1e30))


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def adding():
    return data.DATA["adding"](20, sizes=(100, 50, 50))


@pytest.fixture(scope="module", autouse=True)
def short():
    """A few calls are enough to see that latency is measured."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"SECONDS": 0.0, "STEPS": 20, "WARM_UP": 2, "LENGTHS": (1, 4, 16)}.items():
            patch.setattr(latency, name, value)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory, short):
    """An uninterrupted comparison of two structures, two workers: (folder, results, what was told on the way)."""
    told = []

    class Ear(Watcher):
        def finished(self, job, record):
            told.append((job.name, record["status"]))

    out = tmp_path_factory.mktemp("whole")
    return out, compare(SMALL, out, watch=Ear(), workers=2), told


# the run --------------------------------------------------------------------------------------------------------------


def _without_times(value):
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if k not in MEASURED}
    if isinstance(value, list):
        return [_without_times(v) for v in value]
    return value


def test_the_results_document(whole):
    out, found, told = whole
    assert json.loads((out / "results.json").read_text()) == json.loads(json.dumps(found))
    assert {"results.csv", "report.html", "plan.json"} <= {p.name for p in out.iterdir()}
    assert not (out / "data.safetensors").exists()
    assert found["budget"]["steps"] == 30
    assert found["command"].startswith("lamina compare digits --params 3000 --steps 30 --seeds 2 --models mlp,rnn")
    for row in found["rows"]:
        assert row["status"] == "done"
        assert row["seeds"] == [0, 1]
        assert len(row["scores"]) == 2
        assert row["lr"] in (0.003, 0.03)
        assert 0 < row["step_ms_p50"] <= row["step_ms_p95"] <= row["step_ms_p99"]
        assert row["streams"] is True
        assert row["state_curve"][-1][0] == 16
        assert abs(row["params"] / 3000 - 1) <= LIMIT
    mlp = found["rows"][0]
    assert mlp["score"] > 0.5 > found["chance"]
    assert [c["seed"] for c in found["curves"]["mlp"]] == [0, 1]
    assert len(told) == 8


def test_a_diverged_trial_is_shown_and_the_rest_goes_on(whole):
    found = whole[1]
    lost = [t for t in found["trials"] if t["status"] == "diverged"]
    assert {(t["model"], t["lr"]) for t in lost} == {("mlp", 1e30), ("rnn", 1e30)}
    assert all(t["dev_score"] is None for t in lost)


KILLS_ITSELF = """
import os, signal
from lamina.compare import Settings, compare
from lamina.compare.watch import Watcher

class Killed(Watcher):
    trials = 0
    def finished(self, job, record):
        self.trials += 1
    def progress(self, job, step, dev):
        if self.trials >= 3:
            os.kill(os.getpid(), signal.SIGKILL)
    def started(self, job):
        if self.trials >= 5:
            os.kill(os.getpid(), signal.SIGKILL)

"""


def test_killed_at_any_moment_it_goes_on_to_the_same(whole, tmp_path):
    out = tmp_path / "killed"
    script = KILLS_ITSELF + f"compare({SMALL!r}, {str(out)!r}, workers=1, watch=Killed())"
    done = subprocess.run([sys.executable, "-c", script], stderr=subprocess.DEVNULL, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    kept = {p.name: p.read_bytes() for p in (out / "trials").glob("*.json")}
    assert 3 <= len(kept) < 8
    found = compare(SMALL, out, workers=1)
    assert _without_times(found) == _without_times(whole[1])
    assert all((out / "trials" / name).read_bytes() == text for name, text in kept.items())
    before = (out / "measured" / "mlp.json").read_bytes()
    again = compare(SMALL, out)  # nothing left to do: no worker starts
    assert again["rows"] == found["rows"]
    assert (out / "measured" / "mlp.json").read_bytes() == before


def test_lost_weights_are_trained_again(whole, digits):
    from lamina.compare.engine import _Run

    out, found, _ = whole
    plan = Plan.found(Folder(out), SMALL, digits)
    run = _Run(SMALL, digits, Folder(out), Watcher(), 1)
    assert run._complete(plan)
    job = Job("mlp", found["rows"][0]["lr"], 1)
    weights, score = out / "trials" / f"{job.name}.safetensors", out / "scores" / f"{job.name}.json"
    weights.rename(out / "w")
    assert run._complete(plan)
    score.rename(out / "s")
    assert not run._complete(plan)
    (out / "w").rename(weights)
    (out / "s").rename(score)


def test_every_rate_diverged_stays_in_the_table(digits):
    plan = Plan(
        replace(SMALL, lr_grid=(0.1, 1.0)),
        30,
        (Entry("mlp", "ready", params=3000), Entry("lenet", "infeasible", "no width meets it"), Entry("gru", "ready")),
        False,
    )
    lost = {"status": "diverged", "dev_score": None, "dev_loss": None, "steps": 7, "seconds": 0.1, "dev": []}
    trials = {
        Job(m, lr, 0): {"model": m, "lr": lr, "seed": 0, "loss": [[7, None]], **lost}
        for m in ("mlp", "gru")
        for lr in (0.1, 1.0)
    }
    for seed, status in ((0, "done"), (1, "diverged")):
        record = {"status": status, "dev_score": 0.9, "dev_loss": 0.1} if status == "done" else lost
        trials[Job("gru", 0.1, seed)] = {**lost, "model": "gru", "lr": 0.1, "seed": seed, "loss": [], **record}
    scores = {Job("gru", 0.1, 0): {"score": 0.9, "examples": [1.0] * 9 + [0.0]}}
    measured = dict.fromkeys(
        ("streams", "reason", "step_of", "state_bytes", "latency_frames", "state_curve", "flops_per_frame")
    )
    measured |= dict.fromkeys(("flops_per_example", "step_ms_p50", "step_ms_p95", "step_ms_p99"))
    found = results(plan, digits, Metric("accuracy", "higher"), Records(trials, scores, {"gru": measured}), 1)
    mlp, lenet, gru = found["rows"]
    assert mlp["status"] == "diverged"
    assert mlp["reason"] == "the loss was NaN or infinite at every learning rate: 0.1 at step 7, 1 at step 7"
    assert (lenet["status"], lenet["reason"], lenet["score"]) == ("infeasible", "no width meets it", None)
    assert (gru["status"], gru["seeds"], gru["score_sd"]) == ("done", [0], None)
    assert "seed 1 at step 7" in gru["reason"]
    assert len(found["curves"]["mlp"]) == 2


def test_chance_is_a_constant_answer(digits, adding):
    assert 0.05 < chance(digits) < 0.15
    assert abs(chance(adding) - 1 / 6) < 0.08


def _command(out):
    rates = ",".join(str(lr) for lr in SMALL.lr_grid)
    words = ["--models", "mlp,rnn", "--params", "3k", "--steps", "30", "--seeds", "2", "--lr", rates, "--out", str(out)]
    return ["compare", "digits", *words]


def test_the_command_prints_a_table_or_the_document(whole, capsys):
    out, found, _ = whole
    for words in ([], ["--json"]):
        with pytest.raises(SystemExit) as left:
            main([*_command(out), *words])
        assert left.value.code == 0
        said = capsys.readouterr()
        assert said.err == ""
        if words:
            assert json.loads(said.out)["rows"] == json.loads(json.dumps(found["rows"]))
            continue
        first, *rows = said.out.splitlines()
        assert first.split()[:2] == ["structure", "Accuracy,"]
        assert {row.split()[0] for row in rows[:2]} == {"mlp", "rnn"}
        assert found["verdict"] in said.out
        assert f"report: {out / 'report.html'}" in said.out


def test_a_terminal_sees_a_line_a_training(whole, digits):
    from rich.console import Console

    from lamina.cli.compare import _terminal

    out, text = whole[0], io.StringIO()
    watch, close = _terminal(Console(file=text, force_terminal=True, width=120))
    watch.stage("solving the widths")
    plan = Plan.found(Folder(out), SMALL, digits)
    watch.planned(
        replace(plan, entries=(*plan.entries, Entry("lenet", "infeasible", "too few"))),
        Metric("accuracy", "higher"),
        8,
        8,
    )
    jobs = [Job("mlp", 0.003, 0), Job("rnn", 0.03, 1)]
    for job in jobs:
        watch.started(job)
        watch.progress(job, 15, 0.9)
    watch.finished(jobs[0], {"status": "done", "dev_score": 0.951, "seconds": 1.2, "steps": 30})
    watch.finished(jobs[1], {"status": "diverged", "dev_score": None, "seconds": 0.2, "steps": 17})
    close()
    shown = text.getvalue()
    for words in (
        "mlp lr 0.003 seed 0",
        "dev 90.0 %",
        " left",
        "dev 95.1 %",
        "2/8",
        "diverged at step 17",
        "lenet: infeasible: too few",
    ):
        assert words in shown, words


# the folder -----------------------------------------------------------------------------------------------------------


def test_a_folder_of_another_run_is_refused(whole, tmp_path, digits):
    out = whole[0]
    for other, key in (
        (replace(SMALL, params=4000), "params"),
        (replace(SMALL, steps=31), "steps"),
        (replace(SMALL, seeds=3), "seeds"),
    ):
        with pytest.raises(UserError, match=rf"holds another comparison \({key} .*--out, or --fresh"):
            compare(other, out)
    assert Plan.found(Folder(out), SMALL, digits).steps == 30
    (tmp_path / "letters.txt").write_text("mine")
    for fresh in (False, True):
        with pytest.raises(UserError, match=r"holds letters.txt, which is not of a comparison; choose another --out"):
            compare(SMALL, tmp_path, fresh=fresh)
    assert (tmp_path / "letters.txt").read_text() == "mine"
    with pytest.raises(UserError, match="is a file"):
        compare(SMALL, tmp_path / "letters.txt")


def test_a_measured_plan_is_the_same_run_with_its_steps(tmp_path, digits):
    folder, asked = Folder(tmp_path), replace(SMALL, steps=None)
    Plan(asked, 70, (Entry("mlp", "ready", keys={"d_ff": 3}, params=10, step_ms=1.5),), True).save(folder, digits)
    assert Plan.found(folder, asked, digits).steps == 70
    assert Plan.found(folder, replace(asked, steps=70), digits).entries[0].keys == {"d_ff": 3}
    with pytest.raises(UserError, match=r"minutes 5, here 6"):
        Plan.found(folder, replace(asked, minutes=6.0), digits)


def test_two_runs_in_one_folder(tmp_path):
    pytest.importorskip("fcntl")
    with (
        Folder(tmp_path).claimed(fresh=False),
        pytest.raises(UserError, match="another lamina compare is at work here"),
    ):
        compare(SMALL, tmp_path)


def test_fresh_removes_only_what_a_comparison_wrote(tmp_path):
    folder = Folder(tmp_path / "x")
    with folder.claimed(fresh=False):
        folder.write("plan", {})
        folder.write("trials/a", {})
    (tmp_path / "x" / "trials" / "b.json.part").write_text("half")
    with folder.claimed(fresh=False):
        assert folder.read("plan") == {"schema": 1}
        assert [p.name for p in (tmp_path / "x" / "trials").iterdir()] == ["a.json"]
    with folder.claimed(fresh=True):
        assert [p.name for p in (tmp_path / "x").iterdir()] == [".lock"]


def test_a_full_disk_is_one_line_and_nothing_half_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    folder = Folder(tmp_path)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="the disk is full; free some space") as said:
        folder.write("trials/a", {"x": 1})
    assert "\n" not in str(said.value)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


# workers and latency --------------------------------------------------------------------------------------------------


def test_a_worker_that_dies_is_reported(monkeypatch):
    monkeypatch.setattr(pool, "START", "import os, sys; sys.stdin.readline(); os.kill(os.getpid(), 9)")
    jobs = [{"kind": "trial", "model": "mlp", "lr": 0.1, "seed": 2}]
    with pool.Pool(2) as workers, pytest.raises(UserError, match=r"trial of mlp at .* seed 2 was killed by SIGKILL"):
        workers.work(lambda: jobs.pop() if jobs else None, lambda *_: None)
    monkeypatch.setattr(pool, "START", "import sys; sys.exit('no torch here')")
    with pool.Pool(1) as workers, pytest.raises(UserError, match=r"ended with status 1 \(no torch here\)"):
        workers.work(lambda: {"kind": "trial", "model": "mlp"}, lambda *_: None)


def test_a_worker_ends_with_its_parent():
    process = subprocess.Popen([sys.executable, "-c", pool.START], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert b"ready" in process.stdout.readline()
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdout.close()


def test_latency_is_pinned_and_leaves_no_trace():
    allowed, threads = os.sched_getaffinity(0), torch.get_num_threads()
    with latency.pinned():
        assert len(os.sched_getaffinity(0)) == 1
        assert torch.get_num_threads() == 1
    assert (os.sched_getaffinity(0), torch.get_num_threads()) == (allowed, threads)
    found = latency.percentiles(lambda: None)
    assert 0 <= found["step_ms_p50"] <= found["step_ms_p95"] <= found["step_ms_p99"]


def test_what_a_structure_that_does_not_stream_costs(digits):
    from lamina.train import Order

    lenet = latency.measure(Order("lenet", {}, "digits").build(digits), digits)
    assert (lenet["streams"], lenet["state_bytes"], lenet["step_of"]) == (False, None, "the whole example")
    assert lenet["reason"].startswith("it sees a whole image at once")
    assert lenet["flops_per_frame"] == lenet["flops_per_example"] > 1e5
    lstm = latency.measure(Order("lstm", {"d_model": 8}, "digits").build(digits), digits)
    assert (lstm["streams"], lstm["step_of"], lstm["latency_frames"]) == (True, "one frame", 1.0)
    assert {size for _, size in lstm["state_curve"]} == {lstm["state_bytes"]}
