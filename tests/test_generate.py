"""Generation: it is what forward says, whatever way the prompt came; and the command around it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lamina import data, models
from lamina.cli import _run
from lamina.core import Seq, UserError, state
from lamina.data.text import unread
from lamina.models import find
from lamina.tasks import LanguageModel, Writer, make
from lamina.tasks.generate import choose
from lamina.train import Order, load_language_model, load_run, train_run

PROMPT = torch.tensor(list("def größe(".encode()))


def model(name: str = "gru", **keys: int) -> LanguageModel:
    """A language model with random weights, in float64 so that no tie of rounding decides."""
    torch.manual_seed(0)
    task = make(unread("text", 16), find(name), models.create(name, d_model=16, **keys)).double()
    for weight in (task.stem.table.weight, task.head.weight):
        torch.nn.init.normal_(weight)  # far apart: what a fresh task says of one token is like what it says of another
    return task


STRUCTURES = [
    ("gru", {}), ("lstm", {}), ("transformer", {"left": 8, "n_heads": 2}), ("mamba", {}), ("retnet", {"n_heads": 2}),
    ("gated_retention", {"n_heads": 2}), ("deltanet", {"n_heads": 2, "short_conv": 4}), ("linear_attention", {}),
    ("yoco", {"n_heads": 2, "capacity": 64}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "keys"), STRUCTURES)
def test_greedy_writing_is_the_argmax_of_forward(name: str, keys: dict[str, int]) -> None:
    task = model(name, **keys)
    writer = Writer(task)
    writer.read(PROMPT)
    written = list(writer.write(30, temperature=0))
    whole = torch.cat([PROMPT, torch.tensor(written)])
    with torch.no_grad():
        logits = task.head(task.encoder()(Seq.of(whole[None])).values)[0]
    assert logits[len(PROMPT) - 1 : -1].argmax(-1).tolist() == written
    assert len(set(written)) > 5
    assert torch.allclose(writer.logits, logits[-1])  # the last token was read too


@pytest.mark.parametrize("pieces", [[1] * 12, [5, 0, 7], [11, 1]])
def test_the_prompt_may_come_in_pieces(pieces: list[int]) -> None:
    task, texts = model("transformer", left=8, n_heads=2), []
    for sizes in ([len(PROMPT)], pieces):
        writer = Writer(task)
        for piece in PROMPT.split(sizes):
            writer.read(piece)
        texts.append(list(writer.write(20, temperature=0.9, top_p=0.8, seed=4)))
    assert texts[0] == texts[1]


def test_the_same_seed_writes_the_same() -> None:
    task, texts = model(), []
    for seed in (1, 1, 2):
        writer = Writer(task)
        writer.read(PROMPT)
        torch.randn(3)  # the global generator has no say
        texts.append(list(writer.write(30, seed=seed)))
    assert texts[0] == texts[1] != texts[2]


def test_the_state_neither_grows_nor_is_changed_in_place() -> None:
    writer = Writer(model("transformer", left=8, n_heads=2))
    writer.read(PROMPT)
    before, kept = state.nbytes(writer.state), state.to_bytes(writer.state)
    held = writer.state
    list(writer.write(50))
    assert state.nbytes(writer.state) == before
    assert state.to_bytes(held) == kept


def test_a_token_is_drawn_by_its_probability() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    generator = torch.Generator().manual_seed(0)

    def shares(**how: float) -> list[float]:
        drawn = [choose(logits, how.get("temperature", 1.0), how.get("top_p", 1.0), generator) for _ in range(4000)]
        return [drawn.count(token) / 4000 for token in range(4)]

    assert shares() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)
    assert shares(top_p=0.8) == pytest.approx([5 / 8, 3 / 8, 0, 0], abs=0.03)
    assert shares(top_p=0.81) == pytest.approx([50 / 95, 30 / 95, 15 / 95, 0], abs=0.03)
    assert shares(top_p=1e-9) == [1, 0, 0, 0]
    squared = [p * p / 0.365 for p in (0.5, 0.3, 0.15, 0.05)]
    assert shares(temperature=0.5) == pytest.approx(squared, abs=0.03)
    assert shares(temperature=0) == [1, 0, 0, 0]


def test_what_cannot_be_written_on_from() -> None:
    writer = Writer(model())
    for how, message in (
        ({}, "nothing to write on from; read a prompt of at least one token first"),
        ({"temperature": -0.1}, "temperature -0.1: it must be 0"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"top_p": 0.0}, "top-p 0: it must be above 0 and at most 1"),
        ({"top_p": 1.5}, "top-p 1.5"),
    ):
        with pytest.raises(UserError, match=message):
            writer.write(1, **how)
        writer.read(PROMPT)
    recall = data.load("mqar:pairs=2,length=12,vocab=8")
    with pytest.raises(UserError, match="Answer tells no next token"):
        Writer(Order("gru", {"d_model": 8}, recall.name).build(recall))


# the command ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A gru trained for a moment on a text that is then removed, and one on parity."""
    out = tmp_path_factory.mktemp("runs")
    text = out / "mine.txt"
    text.write_text("grüße an alle: " * 800)
    for name, where in ((str(text), "text"), ("parity:length=8", "parity")):
        order = Order("gru", {"d_model": 24, "n_layers": 1}, name, steps=40, lr=2e-2, batch_size=4)
        train_run(order, data.load(name), out / where)
    text.unlink()
    return out


def test_a_run_without_its_text_still_writes(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_run(runs / "text")
    words = ["generate", str(runs / "text"), "--prompt", "grü", "--tokens", "60", "--temperature", "0"]
    assert _run(words) == 0
    text, told = capsys.readouterr()
    assert text.startswith("grü")
    assert text.endswith("\n")
    assert _run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert text == found["prompt"] + found["text"] + "\n"
    writer = Writer(load_language_model(runs / "text"))
    writer.read(torch.tensor(list("grü".encode())))
    assert bytes(writer.write(60, temperature=0)).decode(errors="replace") == found["text"]
    assert (found["tokens"], found["prompt_tokens"], found["state_bytes"]) == (60, 4, 24 * 4)
    assert f"60 bytes in {found['seconds']:.0f}"[:11] == told[:11]
    assert told.endswith("state 96 bytes throughout\n")


def test_characters_of_several_bytes_wait_for_their_last(runs: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("lamina.tasks.Writer.write", lambda self, n, **how: iter("aüz€".encode() + b"\xe2\x82"))
    said: list[str] = []
    monkeypatch.setattr("lamina.cli.generate._say", said.append)
    assert _run(["generate", str(runs / "text"), "--prompt", "x"]) == 0
    assert said == ["x", "a", "", "ü", "z", "", "", "€", "", "", "\ufffd\n"]


def test_ctrl_c_ends_the_text_and_the_figures_follow(runs: Path, monkeypatch, capsys) -> None:
    def stopped(self, n, **how):
        yield from b"ab"
        raise KeyboardInterrupt

    monkeypatch.setattr("lamina.tasks.Writer.write", stopped)
    assert _run(["generate", str(runs / "text"), "--prompt", "x"]) == 0
    text, told = capsys.readouterr()
    assert text == "xab\n"
    assert told.startswith("2 bytes in ")


def test_the_command_refuses_in_one_line(runs: Path, capsys) -> None:
    for words, message in (
        (["text", "--prompt", ""], "--prompt is empty; give at least one character"),
        (["text", "--prompt", "x", "--temperature", "-1"], "temperature -1: it must be 0"),
        (["text", "--prompt", "x", "--top-p", "2"], "top-p 2: it must be above 0 and at most 1"),
        (["text", "--prompt", "x", "--tokens", "0"], "--tokens 0: it must be at least 1"),
        (["text"], "missing option"),
        (["parity", "--prompt", "x"], "this gru was trained on parity:length=8, not to tell the next byte; train one"),
        (["nowhere", "--prompt", "x"], "holds no run.json"),
    ):
        assert _run(["generate", str(runs / words[0]), *words[1:]]) == 2
        out, err = capsys.readouterr()
        assert message in err
        assert err.count("\n") == 1
        assert out == ""
