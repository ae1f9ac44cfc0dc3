"""CTC's claim: its rules, the frames shared out evenly, and the experiment in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch

from claim_parts import drawn, quiet
from lamina.data import NOT_ASKED, DataSet, Split
from lamina.reproduce import CLAIMS, ctc
from lamina.tasks import Ctc
from lamina.train import Order


def test_rules_are_those_of_the_claims() -> None:
    wanted = {"behind": "< 0 %", "prefix_behind": "<= 0 %", "loss_error": "<= 1e-10 nats", "best_path": "< 100 %"}
    for tier, seeds in (("ci", (0,)), ("full", (0, 1, 2))):
        plan = ctc.plan(tier)  # type: ignore[arg-type]
        assert {f.key: f.accept for f in plan.figures if f.accept} == wanted
        assert plan.seeds == seeds
        assert plan.settings["data"] == {"ci": "espeak_strings:snr=10", "full": "digit_strings:snr=10"}[tier]


def test_the_loss_is_every_paths() -> None:
    assert 0 < ctc.beyond_enumeration(100) < 1e-13


def test_frames_are_shared_out_evenly() -> None:
    y = torch.tensor([[1, 2, 3], [4, 4, NOT_ASKED], [5, NOT_ASKED, NOT_ASKED], [1, 1, 1]])
    got = ctc.uniform(y, torch.tensor([8, 6, 3, 5]), 8)
    assert got.tolist() == [
        [1, 1, 1, 2, 2, 2, 3, 3], [4, 4, 0, 4, 4, 4, -1, -1], [5, 5, 5, *[-1] * 5], [1, 0, 1, 0, 1, -1, -1, -1],
    ]  # fmt: skip


def test_both_trainings_have_the_same_network_and_budget() -> None:
    y = torch.tensor([[1, 2, 2], [3, 1, NOT_ASKED]])
    part = Split(torch.randn(2, 20, 160), y, torch.tensor([20, 13]))
    dataset = DataSet("x", "audio", "ctc", part, part, part, "", n_classes=11)
    order = Order("conformer", ctc.plan("ci").settings["keys"], "x", steps=7, seed=100, batch_size=4)
    other = ctc.UniformOrder(order)
    assert (other.steps, other.seed, other.batch_size) == (7, 100, 4)
    one, two = cast(Ctc, order.build(dataset)), other.build(dataset)
    assert {k: v.tolist() for k, v in one.state_dict().items()} == {k: v.tolist() for k, v in two.state_dict().items()}
    batch = dataset.train.rows(slice(0, 2))
    prediction = one(batch).detach()
    assert torch.equal(prediction, two(batch).detach())
    loss, count = two.criterion(prediction, batch)
    assert int(count) == int(one.lengths(batch).sum())
    targets = ctc.uniform(batch["y"], one.lengths(batch), prediction.shape[1])
    log_p = prediction.log_softmax(-1)
    wanted = -sum(log_p[b, t, k] for b, row in enumerate(targets.tolist()) for t, k in enumerate(row) if k >= 0)
    assert float(loss) == pytest.approx(float(wanted), rel=1e-5)


def test_the_experiment_in_seconds(tmp_path: Path) -> None:
    plan = ctc.plan("ci")
    settings = {**plan.settings, "data": "espeak_strings:train=16", "steps": 4}
    found = ctc.trial(settings, 100, tmp_path, quiet)
    figures = found["figures"]
    assert {f.key for f in plan.figures} <= set(figures)
    assert figures["prefix_behind"] == pytest.approx(figures["prefix"] - figures["best_path"])
    rival = min(figures["framewise_best_path"], figures["framewise_prefix"])
    assert figures["behind"] == pytest.approx(figures["best_path"] - rival)
    drawn(CLAIMS["ctc"], settings, found)
