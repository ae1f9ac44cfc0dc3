"""The claim of DDPM: its experiment at a size of seconds, at both tiers, and how long each network learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from claim_parts import drawn, quiet
from lamina import data
from lamina.reproduce import CLAIMS, ddpm
from lamina.reproduce import record as records

KEYS = {"channels": [8, 8], "attention": [], "attention_mid": False, "prediction": "epsilon", "noise_steps": 20}
SETTINGS = {
    "data": "digits", "keys": KEYS, "steps": 12, "batch_size": 8, "lr": 1e-3, "ema": 0.9, "samples": 80,
    "sampling_steps": 5,
}  # fmt: skip
RIVAL = {"keys": {"channels": 4, "d_noise": 4}, "steps": 9, "batch_size": 8, "lr": 1e-3, "ema": 0.9}


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve fixed features in place of a trained LeNet's."""
    weights = torch.randn(64, 12, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(ddpm, "lenet_features", lambda dataset: lambda x: (x.flatten(1) @ weights).relu())


def test_the_ci_tier_at_a_small_size(tmp_path: Path) -> None:
    claim = CLAIMS["ddpm"]
    found = claim.trial(SETTINGS, 5, tmp_path, quiet)
    figures = found["figures"]
    assert set(figures) == {figure.key for figure in claim.plan("ci").figures}
    assert figures["less"] == figures["frechet_ddpm"] / figures["frechet_gaussian"] > 1  # it has hardly begun
    assert figures["frechet_real"] < figures["frechet_gaussian"]
    assert set(found["shown"]) == {"real", "ddpm", "gaussian"}
    drawn(claim, SETTINGS, found)
    drawn(claim, SETTINGS, {"figures": {}, "learned": {}})  # diverged
    again = claim.trial(SETTINGS, 5, tmp_path / "again", quiet)["figures"]
    assert {**again, "minutes": 0} == {**figures, "minutes": 0}


def test_the_full_tier_trains_three_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both U-Nets take as many updates as each other, whatever else the machine does meanwhile."""
    claim, asked = CLAIMS["ddpm"], []
    learn = ddpm.learn

    def watched(order, *arguments, **how):
        asked.append((order.model, order.keys.get("prediction"), order.steps))
        return learn(order, *arguments, **how)

    monkeypatch.setattr(ddpm, "learn", watched)
    settings = {**SETTINGS, "gan": RIVAL}
    found = claim.trial(settings, 5, tmp_path, quiet)
    assert asked == [("ddpm", "epsilon", 12), ("ddpm", "x0", 12), ("gan", None, 9)]
    figures = found["figures"]
    assert set(figures) == {figure.key for figure in claim.plan("full").figures}
    assert figures["less_gan"] == figures["frechet_ddpm"] / figures["frechet_gan"]
    assert figures["less_x0"] == figures["frechet_ddpm"] / figures["frechet_x0"]
    plan = replace(claim.plan("full"), seeds=(5,), settings=settings)
    trials = [{**found, "minutes": 0.1, "env": {}, "code": "0"}]
    svg = claim.picture(records.record(claim, "full", plan, trials), trials)
    assert "the GAN's at equal minutes" in svg.replace("&#x27;", "'")
    assert svg.count("<image") == 3


def test_its_rules_are_those_of_the_claims() -> None:
    full, ci = ({f.key: f.accept for f in CLAIMS["ddpm"].plan(tier).figures if f.accept} for tier in ("full", "ci"))
    assert full == {"less_gan": "< 1", "less_x0": "< 1", "less": "< 1"}
    assert ci == {"less": "< 1"}


def test_real_images_are_drawn_from_the_training_part() -> None:
    digits = data.load("digits")
    some = ddpm._some(digits, 50, 0)
    assert some.shape == (50, 1, 8, 8)
    assert (torch.cdist(some.flatten(1), digits.train.x.flatten(1)).amin(1) == 0).all()
    assert not torch.equal(some, ddpm._some(digits, 50, 1))
