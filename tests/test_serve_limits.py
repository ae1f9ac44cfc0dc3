"""lamina serve against clients that misbehave: each gets a clear answer, and the others read on."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import deque
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from lamina import data
from lamina.cli import main
from lamina.core import NotStreamable, UserError
from lamina.deploy.serve import About, Access, Limits, session
from lamina.deploy.serve.meters import Meters
from lamina.deploy.serve.protocol import Hello
from lamina.speech import Listeners, Recogniser
from lamina.speech.decode import BestPath
from lamina.speech.listeners import Caption
from lamina.train import Order, train_run
from recogniser_parts import RATE, random_run, sound
from serve_parts import TOKEN, Client, emptied, heard, pcm, run, server

ODD = 77  # samples of a message that breaks the step


class Breaking(Listeners):
    def push(self, sounds):
        if any(len(x) == ODD for x in sounds.values()):
            raise RuntimeError("a kernel failed")
        return super().push(sounds)


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory):
    return Recogniser.of_run(random_run(tmp_path_factory.mktemp("spoken"), left=8, right=2))


@pytest.fixture(scope="module")
def app(recogniser):
    limits = Limits(listeners=4, messages=100, waiting=3.0, hello=0.3, length=60.0, text_bytes=1 << 18)
    with server(recogniser, limits=limits, listeners=Breaking(recogniser, 4)) as one:
        yield one


NAN, LOUD = np.float32([0, np.nan]).tobytes(), np.float32([0, 12000]).tobytes()
BAD = {
    "sound first": ([b"\0\0"], None, "order", 1008, "hello"),
    "no JSON": (["hi there"], None, "garbage", 1003, "JSON"),
    "nested": (["[" * 9999], None, "garbage", 1003, "JSON"),
    "another first": ([{"type": "save"}], None, "order", 1008, "first message"),
    "unknown key": ([{"type": "hello", "rat": 8000}], None, "garbage", 1003, "'rate'"),
    "no rate": ([{"type": "hello"}], None, "garbage", 1003, "rate"),
    "rate": ([{"type": "hello", "rate": 7}], None, "garbage", 1003, "4000"),
    "format": ([{"type": "hello", "rate": 8000, "format": "mp3"}], None, "garbage", 1003, "s16le"),
    "silent": ([], None, "idle", 1008, "hello"),
    "twice": ([{"type": "hello", "rate": 8000}], {}, "order", 1008, "another connection"),
    "unknown type": ([{"type": "sav"}], {}, "garbage", 1003, "'save'"),
    "half a sample": ([b"\0\0\0"], {}, "garbage", 1003, "s16le"),
    "NaN": ([NAN], {"format": "f32le"}, "samples", 1007, "NaN"),
    "whole numbers": ([LOUD], {"format": "f32le"}, "samples", 1007, "-1..1"),
    "big sound": ([bytes(70_000)], {}, "too_big", 1009, "65,536"),
    "too many": ([b""] * 1500, {}, "too_many", 1008, "100 messages"),
    "too fast": ([bytes(64_000)] * 30, {}, "behind", 1008, "3 s"),
    "no stream": ([], {"resume": "what?"}, "resume", 1008, "saved"),
    "other's stream": ([], {"resume": "QUJD" * 90}, "resume", 1008, "not whole"),
    "not ASCII": ([{"type": "é" * 100}], {}, "garbage", 1003, "unknown type"),
    "breaks the step": ([bytes(2 * ODD)], {}, "internal", 1011, "RuntimeError"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_clear_answer_and_the_others_go_on(app, recogniser, case, caplog):
    messages, hello, kind, code, said = BAD[case]
    spoken = pcm(sound(3, 2.0))

    async def misbehave(client):
        with suppress(ConnectionClosed):  # the server has had enough
            for message in messages:
                await client.say(message)
        error = await client.hear("error")
        return error, await client.hear()

    async def both():
        bad = Client(app.port, **(hello or {}))
        bad.hello = bad.hello if hello is not None else {"rate": None}
        async with Client(app.port) as good, bad:
            await good.send(spoken[:16_000])
            await good.until(1.0)
            error, rest = await misbehave(bad)
            await good.all(spoken[16_000:])
            return bad, error, rest, good.text

    bad, error, rest, text = run(both())
    assert error["kind"] == kind
    assert said in error["message"]
    assert bad.code == code
    assert rest is None
    assert text == recogniser.transcribe(heard(spoken)).text
    assert emptied(app)


def test_a_message_behind_the_end():
    """Seen while the end still waits for its turn."""
    told = deque([{"text": '{"type": "end"}'}, {"bytes": b"\0\0"}])

    class Scripted:
        async def receive(self):
            return {"type": "websocket.receive", **told.popleft()}

    async def read():
        app = SimpleNamespace(limits=Limits(), engine=SimpleNamespace(put=lambda *_: 0.0))
        one = session.Session(app, Scripted())
        await one._read(SimpleNamespace(hello=Hello(rate=RATE)))
        return one.problem

    problem = run(read())
    assert problem.kind == "order"
    assert "behind the end" in str(problem)


def test_a_client_that_vanishes_leaves_its_row(app, recogniser):
    """Killed mid-stream again and again, more often than there are rows, while another reads on."""
    spoken = pcm(sound(4, 2.0))

    async def vanish():
        client = Client(app.port)
        async with client:
            await client.send(spoken[:8000])
            client.socket.transport.abort()

    async def both():
        async with Client(app.port) as good:
            await good.send(spoken[:8000])
            for _ in range(9):
                await vanish()
            return await good.all(spoken[8000:])

    assert run(both()) == recogniser.transcribe(heard(spoken)).text
    assert emptied(app)


def test_the_fifth_of_four_is_told(app):
    async def five():
        clients = [Client(app.port) for _ in range(5)]
        for client in clients:
            await client.__aenter__()
            kind = (await client.hear())["type"]
        await clients[0].say({"type": "end"})
        await clients[0].hear("end")
        async with Client(app.port) as again:
            last = await again.hear()
        for client in clients[1:]:
            await client.__aexit__()
        return kind, clients[4].messages[0], last["type"]

    kind, message, last = run(five())
    assert (kind, last) == ("error", "ready")
    assert message["kind"] == "full"
    assert "4 places" in message["message"]


def test_a_message_beyond_all_limits_and_bytes_that_are_no_websocket(app):
    async def big():
        async with Client(app.port) as client:
            await client.hear()
            await client.say(bytes(1 << 20))
            assert await client.hear() is None
            return client.code

    assert run(big()) == 1009
    with socket.create_connection(("127.0.0.1", app.port)) as one:
        one.sendall(b"\x00\xff nothing of HTTP\r\n\r\n" * 20)
        assert b"400" in one.recv(1000)
    run(big())


@pytest.mark.parametrize(
    ("field", "limit", "kind"), [("length", 1.0, "too_long"), ("length", 0.2, "too_long"), ("idle", 0.2, "idle")]
)
def test_a_stream_lasts_as_long_as_is_granted(recogniser, field, limit, kind):
    async def listen(port):
        async with Client(port) as client:
            await client.send(pcm(sound(1, 2.0 if limit == 1.0 else 0.1)), pace=9)
            return await client.hear("error")

    with server(recogniser, limits=Limits(listeners=2, **{field: limit})) as app:
        error = run(listen(app.port))
    assert error["kind"] == kind
    assert f"{limit:g} s" in error["message"]


def test_token_and_origin(recogniser):
    page = "https://example.org"

    async def token(port, said):
        async with Client(port, token=said) as client:
            return await client.hear()

    async def origin(port, said):
        async with connect(f"ws://127.0.0.1:{port}/listen", origin=said) as one:
            await one.send(json.dumps({"type": "hello", "rate": RATE, "token": TOKEN}))
            return json.loads(await one.recv())

    with server(recogniser, token=TOKEN, origins=[page]) as app:
        assert run(token(app.port, TOKEN))["type"] == "ready"
        assert run(token(app.port, None))["message"].startswith("the token is missing")
        for wrong in (TOKEN + "!", "\ud800"):
            assert run(token(app.port, wrong))["message"].startswith("the token is not right")
        assert run(origin(app.port, page))["type"] == "ready"
        assert run(origin(app.port, app.url))["type"] == "ready"
        with pytest.raises(InvalidStatus) as refused:
            run(origin(app.port, "https://evil.example"))
        assert b"--origin https://evil.example" in refused.value.response.body


def test_a_client_that_takes_nothing_is_closed(monkeypatch):
    """The newest caption takes the place of those before; after `slow` seconds the client is cut, ended or not."""
    monkeypatch.setattr(session, "PATIENCE", 0.05)
    sent = []

    class Deaf:
        async def send_text(self, text):
            sent.append(json.loads(text))
            await asyncio.Event().wait()

        async def close(self, *_):
            await asyncio.Event().wait()

    async def wait(ended):
        app = SimpleNamespace(limits=Limits(slow=0.05), meters=Meters(), engine=None)
        one = session.Session(app, Deaf())
        for i in range(1000):
            last = ended and i == 999
            one.teller.see(Caption("a" * i, "", (), last, i / 25), i)
        one.news.set()
        await one._write()
        return one

    for ended in (False, True):
        sent.clear()
        one = run(wait(ended))
        assert one.problem.kind == "slow"
        assert one.app.meters.registry.get_sample_value("lamina_errors_total", {"kind": "slow"}) == 1
        assert [message["type"] for message in sent] == ["caption", "error"]
        assert sent[0]["stable"] == "a" * 999


def test_a_client_that_takes_all_but_the_close_is_left(monkeypatch):
    monkeypatch.setattr(session, "PATIENCE", 0.05)

    class Open:
        async def send_text(self, text):
            pass

        async def close(self, *_):
            await asyncio.Event().wait()

    async def wait():
        app = SimpleNamespace(limits=Limits(), meters=Meters(), engine=None)
        one = session.Session(app, Open())
        one.teller.see(Caption("a", "", (), True, 1.0), 0.0)
        one.news.set()
        await one._write()
        return one

    one = run(wait())
    assert one.gone
    assert one.problem is None


def test_who_may_be_reached_by_others_needs_token_and_origin(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["serve", str(tmp_path), "--host", "0.0.0.0"])
    assert "--token" in capsys.readouterr().err
    for host in ("0.0.0.0", "192.168.1.2", "example.org", "::"):
        with pytest.raises(UserError, match="--origin"):
            Access.of(host, 1, TOKEN, [])
        with pytest.raises(UserError, match="--token"):
            Access.of(host, 1, None, ["https://example.org"])
        assert Access.of(host, 1, TOKEN, ["https://example.org"]).origins == {"https://example.org"}
    for host in ("127.0.0.1", "::1", "localhost", "0:0::1"):
        near = {"http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"}
        assert Access.of(host, 1, None, []).origins == near
    assert Access.of("127.9.9.9", 1, None, []).origins == {"http://127.9.9.9:1"}  # nothing listens at its neighbours
    with pytest.raises(UserError, match="guessed"):
        Access.of("127.0.0.1", 1, "short", [])
    for origin in ("example.org", "https://", "https://a/b", "ws://a"):
        with pytest.raises(UserError, match="as a browser does"):
            Access.of("127.0.0.1", 1, TOKEN, [origin])


def test_what_does_not_stream_or_hears_no_speech_is_refused(tmp_path, capsys, recogniser):
    recogniser.layer.stream_spec = _never
    with pytest.raises(UserError, match=r"does not stream .*the future.*attention_lstm"):
        About.of(recogniser, BestPath())
    del recogniser.layer.stream_spec
    train_run(Order("mlp", {"d_ff": 8}, "digits", steps=1), data.load("digits"), tmp_path / "run")
    for folder in (tmp_path / "run", tmp_path):
        with pytest.raises(SystemExit, match="2"):
            main(["serve", str(folder)])
        assert "lamina train" in capsys.readouterr().err


def _never():
    raise NotStreamable("it waits for the future")
