"""40 ms of a stream beside the Emformer: the gate before the times, equal weights, ratios of what was timed."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch

from lamina.bench import chunk
from lamina.bench.chunk import SIZES, bench_chunk, chunk_lines
from lamina.bench.peers import emformer
from lamina.core import UserError
from lamina.core.cost import params
from lamina.layers import LSTM
from lamina.models import create

SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "attention_lstm": ("attention_lstm", {"d_model": 16, "left": 8}),
    "lstm": ("lstm", {"d_model": 16}),
}
there = pytest.mark.skipif(emformer.missing() is not None, reason="torchaudio is an optional peer, installed by hand")


def test_all_have_the_weights_of_the_emformer_of_four_layers():
    with torch.device("meta"):
        counted = {name: params(create(model, **keys)) for name, (model, keys) in SIZES.items()}
    # a layer: queries, keys, values and the way out, a feed-forward, three norms
    asked = 4 * (4 * 256 * 257 + 2 * 256 * 1024 + 1024 + 256 + 3 * 2 * 256)
    assert all(abs(n / asked - 1) < 0.005 for n in counted.values()), (counted, asked)


def test_ratios_and_shares_of_real_time_are_of_what_was_timed(monkeypatch):
    monkeypatch.setattr(emformer, "missing", lambda: None)
    monkeypatch.setattr(emformer, "version", lambda: "torchaudio 0")
    monkeypatch.setattr(emformer, "emformer", lambda *, width, segment, **_: torch.nn.Linear(width, width))
    monkeypatch.setattr(emformer, "stream", lambda model: model)
    found = bench_chunk(9, sizes=SMALL, theirs={"width": 16})
    assert [c["frames"] for c in found["chunks"]] == [4, 1]
    for part in found["chunks"]:
        times = {name: t["us_p50"] for name, t in part["times"].items()}
        ours = [*SMALL, *(f"{name}, captured" for name in SMALL)]
        assert set(times) == {*ours, "Emformer"}
        for name in ours:
            assert part["ratio"][name] == pytest.approx(times["Emformer"] / times[name], rel=0.02)
            assert part["real_time"][name] == pytest.approx(times[name] / 40_000, rel=0.02, abs=1e-5)
    lines = chunk_lines(found)
    assert any(line.startswith("as 4 frames of 10 ms") for line in lines)
    assert "Emformer 272" in lines[-2]
    assert lines[-1] == "ratio: torchaudio 0's Emformer over ours, 3 asked"


def test_at_least_so_many_steps_are_counted(monkeypatch):
    rounds = []

    def timed(calls: Any, n: int, **how: Any) -> Any:
        rounds.append(n * (how["burst"] - 1))
        return dict.fromkeys(calls, chunk_time)

    chunk_time = type("Time", (), {"median": 1.0, "as_dict": lambda self: {}})()
    monkeypatch.setattr(chunk, "interleaved", timed)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    bench_chunk(2000, sizes=SMALL)
    assert rounds == [2007, 2007]


def test_without_the_peer_ours_are_timed_and_the_line_that_installs_it_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = bench_chunk(9, sizes=SMALL, frames=(1,))
    assert found["chunks"][0]["ratio"] == dict.fromkeys(
        ["attention_lstm", "lstm", "attention_lstm, captured", "lstm, captured"]
    )
    assert chunk_lines(found)[-1] == "torchaudio is not installed; pip install --no-deps torchaudio==2.11.0"


def test_no_time_where_step_is_not_forward(monkeypatch):
    step = LSTM.step
    monkeypatch.setattr(
        LSTM, "step", lambda self, x, state, memory=None: step(self, x.with_values(2 * x.values), state)
    )
    with pytest.raises(UserError, match=r"attention_lstm: step and forward differ by .* no time is given on red"):
        bench_chunk(9, sizes=SMALL)


@pytest.mark.parametrize("wrong", [lambda y: y * torch.nan, lambda y: y + torch.rand(())])
def test_no_time_where_the_peer_is_not_finite_or_not_the_same_twice(monkeypatch, wrong):
    monkeypatch.setattr(emformer, "stream", lambda model: lambda x: wrong(x))
    with pytest.raises(UserError, match="the Emformer gives other outputs"):
        chunk._their_stream(None, 4, 16)


@there
def test_the_emformers_stream_is_its_own_forward():
    torch.manual_seed(0)
    model = emformer.emformer(16, 32, 2, 4, 8)
    x = torch.randn(1, 24, 16)
    step = emformer.stream(model)
    with torch.no_grad():
        want, _ = model(x, torch.tensor([24]))
        got = torch.cat([step(part) for part in x.split(4, 1)], 1)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)
