"""The claim wav2vec2 at a size of seconds: both tiers, their rules, figures and pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from claim_parts import drawn, quiet
from lamina.data import DataSet
from lamina.reproduce import wav2vec2
from sound_parts import CODES, RATE, SMALL, labelled, unlabelled


def small(settings: dict[str, Any]) -> dict[str, Any]:
    pretrain = {**settings["pretrain"], "codes": CODES, "steps": 4, "batch_size": 8}
    found = {**settings, "keys": SMALL, "pretrain": pretrain}
    if "tune" in settings:
        steps = dict.fromkeys(("ten", "hour", "all"), 3)
        found["tune"] = {**settings["tune"], "minutes": {"ten": 0.05, "hour": 0.1, "all": None}, "steps": steps}
    return found


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tones in place of the data, by the name that is asked for."""
    sets: dict[bool, DataSet] = {True: unlabelled(), False: labelled()}
    monkeypatch.setattr(wav2vec2.data, "load", lambda name: sets[name.startswith("unlabelled:")])


def test_rules_are_those_of_the_claims() -> None:
    ci, full = ({f.key: f.accept for f in wav2vec2.plan(tier).figures if f.accept} for tier in ("ci", "full"))
    assert ci == {"times": "> 5 times", "codes": "> 30 %"}
    assert full == {"ratio": "< 1", "codes": "> 30 %"}
    assert wav2vec2.plan("full").seeds == (0, 1, 2)
    times = wav2vec2.plan("ci").figures[0]
    assert [times.meets(number) for number in (5.0, 5.01, None)] == [False, True, False]


@pytest.mark.usefixtures("made")
def test_the_ci_tier(tmp_path: Path) -> None:
    settings = small(wav2vec2.plan("ci").settings)
    found = wav2vec2.trial(settings, 0, tmp_path, quiet)
    figures = found["figures"]
    assert set(figures) == {f.key for f in wav2vec2.plan("ci").figures}
    assert figures["times"] == pytest.approx(figures["accuracy"] / figures["chance"])
    assert 100 / 16 <= figures["codes"] <= 100
    drawn(wav2vec2.CLAIM, settings, found)


@pytest.mark.usefixtures("made")
def test_the_full_tier(tmp_path: Path) -> None:
    settings = small(wav2vec2.plan("full").settings)
    found = wav2vec2.trial(settings, 0, tmp_path / "one", quiet)
    figures = found["figures"]
    assert set(figures) == {f.key for f in wav2vec2.plan("full").figures}
    assert figures["ratio"] == pytest.approx(figures["ten_pretrained"] / figures["ten_scratch"])
    assert [found["tuned"][f"{part}_scratch"]["utterances"] for part in ("ten", "hour", "all")] == [5, 11, 12]
    assert wav2vec2.trial(settings, 0, tmp_path / "again", quiet)["figures"] == figures
    drawn(replace(wav2vec2.CLAIM, plan=lambda tier: wav2vec2.plan("full")), settings, found)


def test_few_are_so_many_minutes_and_others_for_each_seed() -> None:
    told = labelled(60)
    one, other = wav2vec2.few(told, 0.2, 0), wav2vec2.few(told, 0.2, 1)
    for part in (one, other):
        assert part.train.lengths is not None
        assert 0.17 * 60 * RATE < int(part.train.lengths.sum()) <= 0.2 * 60 * RATE
        assert part.test is told.test
    assert one.digest == wav2vec2.few(told, 0.2, 0).digest != other.digest
    assert torch.equal(wav2vec2.few(told, None, 0).train.y, told.train.y)
