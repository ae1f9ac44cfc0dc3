"""lamina compare speech: its records against runs read back, that it goes on, its table, its peer, its errors."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import torch

from lamina import data
from lamina.cli import main
from lamina.compare.speech import STUDIES, Study, compare_speech, engine, peer
from lamina.compare.speech.engine import parts
from lamina.core import UserError
from lamina.data.audio import resampled
from lamina.data.digit_strings import RATE, WORDS, judged
from lamina.data.espeak import Voice, say
from lamina.train import Order, evaluate_run, load_run
from sound_parts import write
from speech_parts import tones


def study(path: Path, models: dict[str, dict[str, int]] | None = None, steps: int = 3) -> Study:
    models = {"lstm": {"n_layers": 1}, "gru": {}} if models is None else models
    return Study("tones", f"speech:{path}", models, params=6000, steps=steps, lr=3e-3, batch_size=2)


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


def test_rows_are_the_means_of_runs_that_can_be_read_again(tmp_path: Path) -> None:
    asked, out = study(tones(tmp_path)), tmp_path / "out"
    found = compare_speech("tones", asked, 2, out)
    assert [row["model"] for row in found["rows"]] == ["lstm", "gru"]
    assert found["columns"] == ["CER", "WER"]
    for row in found["rows"]:
        scored = [evaluate_run(load_run(out / f"trials/{row['model']}-{seed}"), "test") for seed in range(2)]
        for column in found["columns"]:
            rates = [100 * one[column.lower()]["rate"] for one in scored]
            assert row["scores"][column]["seeds"] == pytest.approx(rates)
            assert row["scores"][column]["mean"] == pytest.approx(fmean(rates))
            assert row["scores"][column]["sd"] == pytest.approx(stdev(rates))
        assert abs(row["weights"] / asked.params - 1) < 0.05
        assert row["minutes"] > 0
    assert json.loads((out / "results.json").read_text()) == json.loads(json.dumps(found))


def test_it_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, out = study(tones(tmp_path), models={"gru": {}}), tmp_path / "out"
    first = compare_speech("tones", asked, 1, out)
    with pytest.raises(UserError, match=r"holds another comparison \(steps 3, here 4\); choose another"):
        compare_speech("tones", study(tones(tmp_path), models={"gru": {}}, steps=4), 1, out)
    trained = []
    monkeypatch.setattr(engine, "train_run", lambda *_, **__: trained.append(1))
    assert compare_speech("tones", asked, 1, out)["rows"] == first["rows"]
    assert not trained


def test_other_structures_join_and_other_keys_do_not(tmp_path: Path) -> None:
    out = tmp_path / "out"
    compare_speech("tones", study(tones(tmp_path), models={"gru": {}}), 1, out)
    found = compare_speech("tones", study(tones(tmp_path), models={"lstm": {}}), 1, out)
    assert [row["model"] for row in found["rows"]] == ["lstm"]
    for model in ("gru", "lstm"):
        with pytest.raises(UserError, match=rf"holds another comparison \({model} {{}}, here {{'n_layers': 3}}\)"):
            compare_speech("tones", study(tones(tmp_path), models={model: {"n_layers": 3}}), 1, out)


def test_a_row_after_pretraining_stands_beside_that_from_scratch(tmp_path: Path) -> None:
    """It begins with the weights of that pretraining, whose time counts."""
    write(tmp_path / "sounds", 30, 8000)
    asked, out = study(tones(tmp_path), models={"gru": {}}), tmp_path / "out"
    asked = replace(asked, unlabelled=f"unlabelled_frames:{tmp_path / 'sounds'}", first=2)
    found = compare_speech("tones", asked, 1, out)
    assert [row["model"] for row in found["rows"]] == ["gru", "gru, pretrained"]
    assert found["rows"][0]["weights"] == found["rows"][1]["weights"]
    assert {row["machine"] for row in found["rows"]} == {found["env"]["cpu"]}
    trial = json.loads((out / "trials" / "gru-pretrained-0.json").read_text())
    runs = [
        json.loads((out / "trials" / f"gru-{kind}-0" / "run.json").read_text())
        for kind in ("pretraining", "pretrained")
    ]
    assert trial["seconds"] == pytest.approx(sum(one["result"]["seconds"] for one in runs))
    assert set(trial["pretraining"]) == {"accuracy", "chance", "code_perplexity", "code_share"}
    assert runs[1]["order"]["start"] == str(out / "trials" / "gru-pretraining-0")
    assert compare_speech("tones", asked, 1, out) == found


def test_one_that_diverged_leaves_the_others_their_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = engine.train_run

    def train(order: Order, *given: Any, **how: Any) -> dict[str, Any]:
        return fit(order, *given, **how) | ({"status": "diverged"} if order.model == "lstm" else {})

    monkeypatch.setattr(engine, "train_run", train)
    monkeypatch.setitem(STUDIES, "digits", study(tones(tmp_path)))
    assert run("compare", "speech", "digits", "--seeds", "1", "--out", str(tmp_path / "out")) == 0
    head, first, second, *_ = capsys.readouterr().out.splitlines()
    assert head.split()[1:5] == ["CER,", "%", "WER,", "%"]
    assert first.split() == ["lstm", "diverged", "diverged"]
    assert second.split()[0] == "gru"
    assert len(second.split()) > 4


def test_who_has_no_peer_knows_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(UserError, match=r"pip install 'lamina\[bench\]'"):
        compare_speech("tones", replace(study(tones(tmp_path)), peer=True), 1, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_peer_hears_the_strings_that_are_judged() -> None:
    """The frames of its samples are those of the study's data."""
    dataset = data.load(STUDIES["digits"].data)
    assert dataset.features is not None
    mine = dataset.probes[5]
    sounds = [sound for _, sound in judged(0, 5)]
    for row, frames in enumerate(dataset.features(sounds[:20])):
        assert torch.equal(mine.rows(slice(row, row + 1))["x"][0], frames)


def test_words_alone_are_scored_by_accuracy(tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = compare_speech("words", study(tones(tmp_path, labels=True), models={"gru": {}}), 1, out)
    assert found["columns"] == ["accuracy"]
    assert found["rows"][0]["scores"]["accuracy"]["sd"] is None
    scored = evaluate_run(load_run(out / "trials/gru-0"), "test")["score"]
    assert found["rows"][0]["scores"]["accuracy"]["mean"] == pytest.approx(100 * scored)


def test_strings_are_judged_at_each_noise() -> None:
    dataset = data.load("espeak_strings:train=2,noise=100+5")
    found = parts(dataset)
    assert list(found) == [" clean", " 5 dB"]
    assert found[" 5 dB"] is dataset.probes[5]


def test_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(STUDIES, "digits", study(tones(tmp_path), models={"gru": {}, "lstm": {}}))
    out = str(tmp_path / "out")
    assert run("compare", "speech", "digits", "--models", "gru", "--seeds", "1", "--out", out) == 0
    head, row, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["structure", "CER,", "%", "WER,", "%", "weights", "minutes"]
    assert row.startswith("gru ")
    assert " to " in row
    assert lines[0] == "tones; one seed"
    assert "mine.jsonl: 9 utterances" in lines[1]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["digts"], "unknown study of speech 'digts'; did you mean 'digits'"),
        ([], "name one study: digits, commands, speechocean"),
        (["commands", "--models", "lstn"], "unknown structure of speech commands 'lstn'; did you mean 'lstm'"),
        (["digits", "--seeds", "0"], "--seeds 0: give at least 1"),
        (["digits", "--minutes", "3"], "compare speech: takes --models"),
        (["digits", "--params", "5M"], "compare speech: takes --models"),
        (["digits", "--batch-size", "0"], "compare speech: takes --models"),
        (["digits", "--steps", "0"], "--steps 0: give at least 1"),
        (["digits", "--models", ""], "--models '': names no structure"),
    ],
)
def test_what_cannot_be_compared_is_said(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", "speech", *words) == 2
    assert why in capsys.readouterr().err


def test_the_studies_name_what_there_is() -> None:
    from lamina.compare.speech.studies import STUDIES as every
    from lamina.data import DATA, named

    for one in every.values():
        key, options = named.parse(one.data, DATA)
        assert named.parse(named.spell(key, options, DATA[key]), DATA) == (key, options)


def test_the_peer_hears_a_clear_voice() -> None:
    """Slowly said, each digit once; how loud it is does not matter."""
    pytest.importorskip("pocketsphinx")
    said = [" ".join(WORDS[:5]), " ".join(WORDS[5:])]
    sounds, rate = say([(words, Voice("en-us+f2", 120, 40)) for words in said])
    strings = [(words, resampled(sound, rate, RATE)) for words, sound in zip(said, sounds, strict=True)]
    found = peer.digits(strings)
    assert found.wer.reference == 10
    assert found.wer.rate <= 0.2
    assert peer.digits([(words, 1e-3 * sound) for words, sound in strings]) == found
