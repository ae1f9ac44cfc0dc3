"""The claim bert at a size of seconds: both tiers, their figures and pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claim_parts import drawn, quiet
from lamina.core import UserError
from lamina.reproduce import bert
from text_parts import reviews, story


def small(settings: dict[str, Any]) -> dict[str, Any]:
    keys = {"d_model": 16, "n_layers": 1, "n_heads": 2}
    pretrain = {"length": 32, "words": 160, "steps": 40, "batch_size": 16, "lr": 1e-2}
    found = {**settings, "keys": keys, "pretrain": pretrain}
    if "tune" in settings:
        found["tune"] = {"labels": 12, "steps": 20, "batch_size": 6, "rates": [1e-2, 3e-2]}
    return found


def test_the_full_tier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (bert.MESSAGES, bert.MORE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    reviews(tmp_path / bert.MESSAGES)
    story(tmp_path / bert.MORE)
    monkeypatch.setenv("LAMINA_DATA", str(tmp_path))
    settings = small(bert.plan("full").settings)
    found = bert.trial(settings, 0, tmp_path / "work", quiet)
    figures = found["figures"]
    assert set(figures) == {f.key for f in bert.plan("full").figures}
    assert figures["ratio"] == pytest.approx(figures["scratch"] / figures["pretrained"])
    assert figures["above"] == pytest.approx(figures["unigram"] / figures["words"])
    for name in ("pretrained", "scratch"):
        assert set(found["tuned"][name]["dev"]) == {"0.01", "0.03"}
        assert 0 <= found["tuned"][name]["score"] <= 100
    assert found["tuned"]["pretrained"] != found["tuned"]["scratch"]
    assert found["curve"][-1][0] == 40
    again = bert.trial(settings, 0, tmp_path / "again", quiet)
    assert again["figures"] == figures
    drawn(replace(bert.CLAIM, plan=lambda tier: bert.plan("full")), settings, found)


def test_no_message_is_in_two_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / bert.MESSAGES).parent.mkdir(parents=True)
    reviews(tmp_path / bert.MESSAGES)
    monkeypatch.setenv("LAMINA_DATA", str(tmp_path))
    messages = bert._messages()
    (tmp_path / bert.MORE).parent.mkdir(parents=True)
    story(tmp_path / bert.MORE)
    text = bert._text(messages, {"length": 32, "words": 160})
    few = [bert._few(messages, text, 20, seed) for seed in (0, 0, 1)]
    assert [len(part.train) for part in few] == [20] * 3
    assert few[0].digest == few[1].digest != few[2].digest  # others for each seed
    every = [text for texts, _ in messages.values() for text in texts]
    assert len(set(every)) == len(every) == 144
    assert [len(messages[part][0]) for part in ("dev", "hidden", "test", "train")] == [7, 7, 29, 101]


def test_the_ci_tier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMINA_DATA", raising=False)
    settings = {**small(bert.plan("ci").settings)}
    settings["pretrain"]["words"] = 500
    found = bert.trial(settings, 0, tmp_path / "work", quiet)
    assert set(found["figures"]) == {f.key for f in bert.plan("ci").figures}
    assert found["data"]["name"] == "mlm:length=32,words=500"
    assert 0 < found["figures"]["unigram"] < 20
    drawn(bert.CLAIM, settings, found)
    with pytest.raises(
        UserError, match=r"LAMINA_DATA is not set; set it to the folder that holds text_cls/smsspam_train\.tsv"
    ):
        bert.trial(bert.plan("full").settings, 0, tmp_path / "full", quiet)
