"""The soak of lamina serve: real clients in real time, some killed, some misbehaving; CI runs half a minute of it."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from lamina.bench import serve
from lamina.cli import main
from lamina.core import UserError
from recogniser_parts import random_run


@pytest.mark.slow
def test_who_stays_hears_the_offline_text(tmp_path):
    found = serve.bench_serve(random_run(tmp_path, left=8, right=2), clients=16, seconds=30.0, killed=5, misbehave=6)
    assert not found["red"], found
    assert (found["stay"], found["equal"], found["refused"]) == (5, 5, 6)
    assert found["characters"] > 100
    assert found["compute_ms"]["n"] > 500
    for times in (found["caption_ms"], found["compute_ms"]):
        assert times["p50"] <= times["p95"] <= times["p99"]
    assert found["caption_ms"]["n"] > 500
    assert found["lost"] == 0


def test_one_must_stay():
    with pytest.raises(UserError, match="one must stay"):
        serve.bench_serve(Path("nowhere"), clients=4, seconds=1.0, killed=2, misbehave=2)


def test_a_chunk_is_answered_by_the_first_caption_that_heard_it():
    captions = [
        {"type": "caption", "at": 0, "stable": "a", "seconds": 0.06, "compute_ms": 1.0, "ended": False},
        {"type": "caption", "at": 1, "stable": "b", "seconds": 0.12, "compute_ms": 2.0, "ended": False},
        {"type": "caption", "at": 2, "stable": "c", "seconds": 0.16, "compute_ms": 3.0, "ended": True},
        {"type": "error", "kind": "order", "message": "no"},
    ]

    class Socket:
        async def recv(self):
            if not captions:
                raise ConnectionClosed(None, None)
            return json.dumps(captions.pop(0))

    one = serve._Client(b"", 8000, "stays", 0.0)
    one.sent.extend((0.04 * (i + 1), 0.0) for i in range(4))
    asyncio.run(serve._hear(Socket(), one))
    assert (len(one.caption), one.compute, one.text) == (3, [1.0, 2.0], "abc")
    assert one.refused == "order"
    assert len(one.sent) == 1


def test_who_cannot_connect_is_lost():
    with socket.create_server(("127.0.0.1", 0)) as own:
        port = own.getsockname()[1]
    one = serve._Client(b"", 8000, "stays", 0.0)
    asyncio.run(serve._client(f"http://127.0.0.1:{port}", one, 0.0))
    assert one.lost


def test_a_red_soak_gives_no_time(monkeypatch, capsys):
    found = {
        "what": "4 clients", "model": "lstm", "params": 1000, "stay": 2, "equal": 1, "characters": 99, "refused": 1,
        "lost": 1, "health": "ok", "free": True, "red": True, "caption_ms": {"p50": 1.0}, "compute_ms": {"p50": 1.0},
        "client_late_ms": {"p50": 1.0},
    }  # fmt: skip
    monkeypatch.setattr(serve, "bench_serve", lambda *_, **__: found)
    with pytest.raises(SystemExit, match="1"):
        main(["bench", "serve", "--run", "somewhere", "--clients", "4", "--killed", "1", "--misbehave", "1"])
    said = capsys.readouterr().out
    assert "1 of 2 that stay heard their offline text" in said
    assert "1 of all were lost" in said
    assert "p50" not in said
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "serve"])
    assert "--run" in capsys.readouterr().err
