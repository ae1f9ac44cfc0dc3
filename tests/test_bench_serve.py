"""The soak of lamina serve: real clients in real time, some killed, some misbehaving; CI runs half a minute of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamina.bench import serve
from lamina.cli import main
from lamina.core import UserError
from serve_parts import random_run


@pytest.mark.slow
def test_who_stays_hears_the_offline_text(tmp_path):
    found = serve.bench_serve(random_run(tmp_path), clients=16, seconds=30.0, killed=5, misbehave=6)
    assert not found["red"], found
    assert (found["stay"], found["equal"], found["refused"]) == (5, 5, 6)
    assert found["characters"] > 100
    assert found["compute_ms"]["n"] > 500
    assert found["compute_ms"]["p50"] <= found["compute_ms"]["p95"] <= found["compute_ms"]["p99"]


def test_one_must_stay():
    with pytest.raises(UserError, match="one must stay"):
        serve.bench_serve(Path("nowhere"), clients=4, seconds=1.0, killed=2, misbehave=2)


def test_a_red_soak_gives_no_time(monkeypatch, capsys):
    found = {
        "what": "4 clients", "model": "lstm", "params": 1000, "stay": 2, "equal": 1, "characters": 99, "refused": 1,
        "health": "ok", "free": True, "red": True, "compute_ms": {"p50": 1.0}, "client_late_ms": {"p50": 1.0},
    }  # fmt: skip
    monkeypatch.setattr(serve, "bench_serve", lambda *_, **__: found)
    with pytest.raises(SystemExit, match="1"):
        main(["bench", "serve", "--run", "somewhere", "--clients", "4", "--killed", "1", "--misbehave", "1"])
    said = capsys.readouterr().out
    assert "1 of 2 that stay heard their offline text" in said
    assert "p50" not in said
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "serve"])
    assert "--run" in capsys.readouterr().err
