"""The Conformer's claim: its rules, rivals of equal weights, and the experiment in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from claim_parts import drawn, quiet
from lamina.core.cost import params
from lamina.data import DataSet, Split
from lamina.reproduce import CLAIMS, conformer
from lamina.reproduce import record as records


def dataset(n_out: int) -> DataSet:
    """Enough of the data to count weights around it."""
    part = Split(torch.zeros(1, 20, 160), torch.tensor([[1, 2]]), torch.tensor([20]))
    return DataSet("x", "audio", "ctc", part, part, part, "", n_classes=n_out)


def test_rules_are_those_of_the_claims() -> None:
    ci, full = ({f.key: f.accept for f in conformer.plan(tier).figures if f.accept} for tier in ("ci", "full"))
    assert ci == {"loss_ratio": "< 1"}
    assert full == dict.fromkeys(("digits_behind", "digits_unhurt", "sentences_behind", "sentences_unhurt"), "< 0 %")
    assert conformer.plan("full").seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("tier", "part", "n_out"), [("ci", "digits", 11), ("full", "digits", 11), ("full", "sentences", 29)]
)
def test_rivals_have_equal_weights(tier: Any, part: str, n_out: int) -> None:
    settings, around = conformer.plan(tier).settings, dataset(n_out)
    with torch.device("meta"):
        counted = {
            name: params(conformer.order(name, settings["width"], settings[part], 0).build(around))
            for name in settings[part]["nets"]
        }
    assert all(abs(n / counted["conformer"] - 1) < 0.005 for n in counted.values()), counted


def test_ablations_take_away_what_they_say() -> None:
    built, around = {}, dataset(11)
    for name in conformer.NETS:
        one = conformer.order(name, 64, conformer.plan("full").settings["digits"], 0)
        with torch.device("meta"):
            built[name] = [name for name, _ in one.build(around).named_modules()]
    convolutions = {name: sum(part.endswith(".conv") for part in parts) for name, parts in built.items()}
    assert convolutions["conformer"] == 2
    assert convolutions["no_convolution"] == 0
    assert convolutions["no_macaron"] == convolutions["no_positions"] == 2


def test_leads_are_against_the_better_rival() -> None:
    scores: dict[str, float | None] = {
        "d_conformer": 10.0, "d_transformer": 14.0, "d_lstm": 12.0, "d_no_convolution": 9.0,
    }  # fmt: skip
    assert conformer._leads("d", scores) == {"d_behind": -2.0, "d_unhurt": 1.0}
    assert conformer._leads("d", {**scores, "d_lstm": None}) == {"d_behind": None, "d_unhurt": 1.0}


def test_the_experiment_in_seconds(tmp_path: Path) -> None:
    plan = conformer.plan("ci")
    settings = {**plan.settings, "digits": {**plan.settings["digits"], "data": "espeak_strings:train=16", "steps": 5}}
    found = conformer.trial(settings, 100, tmp_path, quiet)
    figures = found["figures"]
    assert {f.key for f in plan.figures} <= set(figures)
    assert figures["loss_ratio"] == pytest.approx(
        figures["digits_nats_conformer"] / figures["digits_nats_no_convolution"]
    )
    assert figures["digits_nats_conformer"] > 1
    drawn(CLAIMS["conformer"], settings, found)


def test_the_full_picture_has_a_row_for_each_network() -> None:
    plan = conformer.plan("full")
    scores = {f.key: 5.0 + i for i, f in enumerate(plan.figures)}
    trials = [{"figures": scores, "minutes": 1.0, "env": {}, "code": "0", "data": {}}] * 3
    svg = conformer.picture(records.record(CLAIMS["conformer"], "full", plan, trials), trials)
    assert svg.count("<circle") == 3 * (6 + 4)
    assert all(svg.count(f">{word}<") >= 1 for word in conformer.WORDS.values())
    diverged = [{**t, "figures": {**scores, "digits_lstm": None}} for t in trials]
    assert ">diverged<" in conformer.picture(records.record(CLAIMS["conformer"], "full", plan, diverged), diverged)
