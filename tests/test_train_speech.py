"""Speech from a manifest to a score: `lamina train speech`, what it ends with, pieces of words, every structure."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jiwer
import pytest
import torch
import typer
from typer.testing import CliRunner

from lamina import data, models
from lamina.cli import eval as eval_command
from lamina.cli import train as train_command
from lamina.core import UserError
from lamina.tasks.ctc import best_path
from lamina.train import Order, load_run
from lamina.train.loop import further
from speech_parts import TEXTS, tones


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tones(tmp_path)


@pytest.fixture
def run_command() -> Any:
    app = typer.Typer()
    train_command.register(app)
    eval_command.register(app)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_a_recogniser_ends_with_its_errors_and_what_to_do_next(
    run_command: Any, manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = ("train", "speech", "lstm", manifest, "--steps", 3, "--params", "20k", "--out", out)
    done = run_command(*words)
    assert done.exit_code == 0, done.output
    *_, wer, cer, texts, sounds, following = done.stdout.splitlines()
    assert wer.startswith("WER ")
    assert wer.endswith("in 6 words")
    assert cer.endswith("in 15 characters")
    assert texts == "of 3 utterances, best path; texts by normaliser basic/1"
    assert sounds.startswith("sounds: mine.jsonl: 9 utterances")
    assert following == f"next: lamina eval {out}; lamina transcribe {out} FILE.wav"
    assert run_command(*words).stdout == done.stdout  # finished: says the same again
    order = json.loads((out / "run.json").read_text())["order"]
    assert (order["batch_size"], order["lr"], order["model"]) == (16, 3e-3, "lstm")


def test_a_run_is_scored_by_its_texts(run_command: Any, manifest: Path, tmp_path: Path) -> None:
    """The scores are jiwer's of the best paths, spelled by the characters of the data."""
    out = tmp_path / "run"
    words = ("train", "gru", manifest, "--steps", 40, "--set", "d_model=16", "--lr", 2e-2, "--out", out)
    assert run_command(*words).exit_code == 0
    found = json.loads(run_command("eval", out, "--json").stdout)
    run = load_run(out)
    split = run.dataset.test
    with torch.no_grad():
        batch = split.rows(slice(None))
        rows = best_path(run.task(batch), run.task.lengths(batch))
    heard = [" ".join("".join(run.dataset.labels[i - 1] for i in row).split()) for row in rows]
    said = list(TEXTS)
    assert found["wer"]["rate"] == pytest.approx(jiwer.wer(said, heard))
    assert found["cer"]["rate"] == pytest.approx(jiwer.cer(said, heard))
    assert found["cer"]["reference"] == sum(map(len, said))
    assert found["normaliser"] == "basic/1"
    assert found["score"] < 0.9  # no longer all blank
    told = run_command("eval", out).stdout.splitlines()
    assert told[0].startswith(f"{out}: label error rate ")
    assert told[1].startswith("WER ")


def test_pieces_of_words_are_labels(manifest: Path) -> None:
    pytest.importorskip("sentencepiece")
    name = f"speech:{manifest},pieces=7"
    found = data.load(name)
    assert found.units is not None
    assert found.labels == found.units.pieces
    assert found.n_classes == 1 + len(found.labels) <= 8
    rows = [row[row != data.NOT_ASKED].tolist() for row in found.test.y]
    assert [found.units.decode(row) for row in rows] == list(TEXTS)
    assert found.describe()["units"] == found.units.describe()
    assert data.load(data.where(name)).digest == found.digest
    assert data.load(str(manifest)).units is None
    task = Order("gru", {"d_model": 8}, name).build(found)
    assert further(task, found.dev)["wer"]["reference"] == 6


@pytest.mark.parametrize(
    "name", ["conformer", "transformer", "lstm", "mamba", "retnet", "deltanet", "attention_lstm", "gated_retention"]
)
def test_every_structure_of_sequences_learns_by_name(name: str, manifest: Path) -> None:
    found = data.load(str(manifest))
    known = {"d_model": 16, "n_heads": 2, "n_layers": 2}
    keys = {key: n for key, n in known.items() if key in models.find(name).config_of({}).model_fields}
    task = Order(name, keys, str(manifest)).build(found).train()
    loss, count = task.loss(found.train.rows(slice(None)))
    loss.backward()
    assert float(count) == 15
    assert math.isfinite(float(loss.detach()))
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in task.parameters())


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("speech", "lsmt"), "did you mean 'lstm'"),
        (("speech", "lstm", "nothing"), "unknown data set 'nothing'"),
        (("lstm",), "lamina train lstm: write a structure and a data set"),
        (("speech", "lstm", "digits", "more"), "write a structure and a data set"),
    ],
)
def test_what_cannot_be_trained_is_said(run_command: Any, tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    error = run_command("train", *words, "--out", tmp_path / "run").exception
    assert isinstance(error, UserError), error
    assert why in str(error)
    assert "\n" not in str(error)
    assert not (tmp_path / "run").exists()


def test_the_usual_settings_of_speech() -> None:
    none = dict.fromkeys(("steps", "lr", "batch_size", "params"))
    words, given = train_command._asked(["speech"], none)
    assert words == [train_command.SPEAKER, train_command.VOICES + ",masks=1"]
    assert given == train_command.SPEECH
    words, given = train_command._asked(["speech", "mamba"], {**none, "steps": 7})
    assert words == ["mamba", train_command.VOICES + ",masks=1"]
    assert train_command._asked(["speech", "wav2vec2"], given)[0] == ["wav2vec2", train_command.VOICES]
    assert given == {**train_command.SPEECH, "steps": 7}
    _, given = train_command._asked(["lstm", "digits"], none)
    assert given == {"steps": 1000, "lr": 3e-3, "batch_size": 64, "params": None}
