"""The comparison before it runs: equal budgets, who takes part, the search; and the verdict behind it."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial

import pytest

from lamina import data
from lamina.cli import main
from lamina.compare.budget import LIMIT, TOLERANCE, count, solve
from lamina.compare.engine import steps_that_fit
from lamina.compare.feasible import MOST, entries
from lamina.compare.plan import Entry, Job, Plan, Settings
from lamina.compare.search import chosen_rate, pending
from lamina.compare.verdict import Scored, apart, judge
from lamina.core.config import UserError
from lamina.models import MODELS


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def adding():
    return data.DATA["adding"](20, sizes=(100, 50, 50))


@pytest.fixture(scope="module")
def pairs():
    return data.load("dates:length=6,probes=5")


@pytest.fixture(scope="module")
def samples():
    return data.load("samples:espeak_strings:train=20")


# budget ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_width_meets_the_budget(digits, pairs, samples, name):
    dataset = {"pairs": pairs, "waveform": samples}.get(MODELS[name].view, digits)
    least = 100_000 if name == "wav2vec2" else 20_000  # its convolutions over samples are as wide as they are
    for budget in (3 * least, 10 * least):
        solved = solve(name, dataset, budget)
        assert abs(solved.off) <= TOLERANCE, (budget, solved)
        assert solved.params == count(name, solved.keys, dataset)
    assert solve(name, dataset, least).feasible


def test_counted_weights_are_the_real_ones(digits):
    from lamina.train import Order

    for name in ("mlp", "lstm", "lenet"):
        solved = solve(name, digits, 20_000)
        task = Order(name, solved.keys, "digits").build(digits)
        assert sum(p.numel() for p in task.parameters()) == solved.params


def test_fixed_keys_stay(digits):
    solved = solve("transformer", digits, 60_000, {"d_model": 32, "n_layers": 1})
    assert (solved.keys["d_model"], solved.keys["n_layers"]) == (32, 1)
    assert abs(solved.off) <= TOLERANCE


def test_a_budget_no_width_meets_says_so(digits):
    solved = solve("lstm", digits, 300)
    assert not solved.feasible
    assert abs(solved.off) > LIMIT
    with pytest.raises(UserError, match=r"no width meets 300 weights; the nearest has \d+, [\d.]+% (below|over) it"):
        solved.required("lstm", 300)
    found, _ = entries(Settings(params=300, models=("lstm", "mlp")), digits)
    assert [(e.model, e.status) for e in found] == [("lstm", "infeasible"), ("mlp", "ready")]
    assert "the nearest has" in found[0].reason


# who takes part -------------------------------------------------------------------------------------------------------


def test_views_and_reasons(digits, adding):
    found = {e.model: e for e in entries(Settings(), digits)[0]}
    assert found["mlp"].view == "64 values as one frame"
    assert found["lstm"].view == "8 rows of 8 as frames"
    assert "32x32" in found["lenet"].view
    lenet = next(e for e in entries(Settings(), adding)[0] if e.model == "lenet")
    assert lenet.status == "cannot take the data"
    assert "needs images" in lenet.reason


def test_who_translates_stands_beside_pairs_only(digits, pairs):
    translators = {"seq2seq", "transformer_seq2seq"}
    for settings in (Settings(), Settings(all=True)):
        assert not translators & {e.model for e in entries(settings, digits)[0]}
        found, left_out = entries(settings, pairs)
        assert ({e.model for e in found}, left_out) == (translators, ())
    asked = entries(Settings(models=("seq2seq",)), digits)[0][0]
    assert (asked.status, asked.reason) == (
        "cannot take the data",
        "needs a source and a target; digits is a 8x8 image",
    )


def test_at_most_eight_and_every_family_first(digits, monkeypatch):
    from lamina import models

    more = {f"lstm{i}": replace(MODELS["lstm"], name=f"lstm{i}", build=partial(MODELS["lstm"].build)) for i in range(9)}
    monkeypatch.setattr(models, "MODELS", {**MODELS, **more})
    monkeypatch.setattr("lamina.compare.feasible.models.find", lambda name: models.MODELS[name])
    monkeypatch.setattr(
        "lamina.compare.feasible.entry", lambda name, settings, dataset: Entry(name, "ready", params=60_000)
    )
    shown, left = entries(Settings(), digits)
    assert len(shown) == MOST
    assert {MODELS[e.model].family for e in shown if e.model in MODELS} >= {"dense", "convolution", "attention"}
    # window_attention is the same network as transformer, the others read pairs or make images
    makers = {name for name, row in MODELS.items() if row.task is not None}
    known = set(models.MODELS) - {"window_attention", "seq2seq", "transformer_seq2seq"} - makers
    assert set(left) | {e.model for e in shown} == known
    everything, left = entries(Settings(all=True), digits)
    assert ({e.model for e in everything}, left) == (known, ())


def test_unknown_names_give_the_nearest(capsys, tmp_path):
    for words, hint in (
        (["digts"], "did you mean 'digits'?"),
        (["digits", "--models", "mlp,lstmm"], "did you mean 'lstm'?"),
        (["digits", "--params", "many"], "not a number of weights"),
        (["digits", "--seeds", "0"], "--seeds must be above 0"),
        (["digits", "--lr", "fast"], "not numbers"),
        (["digits", "--minutess", "3"], "--minutes"),
    ):
        with pytest.raises(SystemExit) as left:
            main(["compare", *words, "--out", str(tmp_path / "x")])
        said = capsys.readouterr().err
        assert left.value.code == 2
        assert hint in said
        assert said.count("\n") == 1
    assert not list((tmp_path / "x").glob("*.json"))


# steps and search -----------------------------------------------------------------------------------------------------


def test_steps_fill_the_minutes():
    costs = [{"step": 0.01, "score": 0.0}, {"step": 0.03, "score": 0.0}]
    steps = steps_that_fit(100.0, costs, 5, 2, 10_000)
    assert 0.85 * 100 < steps * 0.04 * 5 / 2 <= 100
    assert steps_that_fit(100.0, costs, 5, 2, 400) == 400
    assert steps_that_fit(100.0, costs, 5, 2, None) == steps
    assert steps_that_fit(1.0, costs, 5, 2, 10_000) == 0


def test_the_rate_is_chosen_on_the_dev_part():
    def record(lr, dev, status="done"):
        return {"lr": lr, "dev_score": dev, "status": status}

    tie = [record(0.01, 0.9), record(0.003, 0.9), record(0.001, 0.8)]
    assert chosen_rate(tie, "higher") == 0.003
    assert chosen_rate(tie, "lower") == 0.001
    lost = record(0.1, None, "diverged")
    assert chosen_rate([lost, tie[0]], "higher") == 0.01
    assert chosen_rate([lost], "higher") is None


def test_seeds_follow_the_grid_and_reuse_it():
    settings = Settings(seeds=3, lr_grid=(0.1, 0.2))
    plan = Plan(settings, 10, (Entry("mlp", "ready", step_ms=1.0), Entry("rnn", "ready", step_ms=2.0)), True)
    done = {}
    assert pending(plan, done, "higher")[0] == Job("rnn", 0.1, 0)
    order = []
    while jobs := pending(plan, done, "higher"):
        job = random.Random(len(done)).choice(jobs)
        order.append(job)
        done[job] = {"status": "done", "lr": job.lr, "dev_score": job.lr, "dev_loss": 1.0}
    assert len(order) == len(set(order)) == 2 * settings.trials_each == 8
    assert {job for job in done if job.seed} == {Job(m, 0.2, s) for m in ("mlp", "rnn") for s in (1, 2)}


# verdict --------------------------------------------------------------------------------------------------------------


def _scored(name, scores, n=400):
    """Examples that are right in the same order for all, so that the test part adds little."""
    right = round(n * sum(scores) / len(scores))
    return Scored(name, tuple(scores), tuple([1.0] * right + [0.0] * (n - right)))


def _judge(*scored, **more):
    return judge(list(scored), name="digits", params=60_000, **{"metric": "accuracy", "better": "higher", **more})


def test_a_clear_winner():
    a, b, c = (
        _scored(n, s) for n, s in (("a", (0.98, 0.981, 0.979)), ("b", (0.9, 0.902, 0.898)), ("c", (0.7, 0.71, 0.69)))
    )
    verdict = _judge(b, c, a)
    assert verdict.best == "a"
    assert verdict.text.startswith("At 60k weights, a is best on digits (98.0 ± 0.1 %), ahead of b (90.0 ± 0.2 %).")
    assert "Behind is c" in verdict.text
    assert "95 % interval" in verdict.text
    twins = _judge(a, b, replace(b, name="d"))
    assert "; b and d cannot be told apart." in twins.text


def test_a_tie_is_said():
    a, b = _scored("a", (0.97, 0.98, 0.96)), _scored("b", (0.965, 0.975, 0.97))
    verdict = _judge(a, b, _scored("c", (0.5, 0.51, 0.49)))
    assert verdict.best is None
    assert verdict.text.startswith("At 60k weights, a and b cannot be told apart with this data (97.0 to 97.0 %).")
    assert "Behind is c (50.0 ± 1.0 %)." in verdict.text
    assert not apart(a, b)
    assert not apart(a, a)


def test_the_test_part_counts_too():
    """Seeds that agree do not hide that 20 examples are few."""
    few = [
        Scored(n, (s, s, s), tuple(e))
        for n, s, e in (("a", 0.9, [1] * 18 + [0] * 2), ("b", 0.85, [1] * 16 + [0] * 3 + [1]))
    ]
    assert not apart(*few)
    many = [Scored(s.name, s.scores, s.examples * 200) for s in few]
    assert apart(*many)


def test_lower_is_better_and_one_seed_and_chance():
    a = Scored("a", (0.01, 0.011, 0.012), tuple([0.011] * 50))
    b = Scored("b", (0.1, 0.11, 0.12), tuple([0.11] * 50))
    verdict = _judge(b, a, metric="mse", better="lower", chance=1 / 6)
    assert verdict.best == "a"
    assert "a is best on digits (mse 0.0110 ± 0.0010), ahead of b (mse 0.110 ± 0.010)" in verdict.text
    guess = _judge(Scored("c", (0.16, 0.17, 0.18), tuple([0.1, 0.25] * 25)), metric="mse", better="lower", chance=1 / 6)
    assert "no structure can be told apart from a constant guess" in guess.text
    single = _judge(_scored("a", (0.9,)), _scored("b", (0.5,)))
    assert single.best is None
    assert "one seed cannot tell" in single.text
    assert "no structure finished" in _judge().text
