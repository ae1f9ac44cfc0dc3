"""lamina serve: each client reads what its sound says offline, whatever the others do."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import torch
import uvicorn

from lamina.core import state as trees
from lamina.data.audio import resampled
from lamina.deploy.serve import Limits, serve
from lamina.speech import Listeners, Recogniser
from lamina.speech.decode import BestPath, PrefixBeam
from recogniser_parts import RATE, random_run, sound
from serve_parts import TOKEN, Client, heard, pcm, process, run, server


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return random_run(tmp_path_factory.mktemp("spoken"), left=8, right=2)


@pytest.fixture(scope="module")
def recogniser(made):
    return Recogniser.of_run(made)


@pytest.fixture(scope="module")
def app(recogniser):
    with server(recogniser) as one:
        yield one


def test_the_captions_are_the_offline_text(app, recogniser):
    data = pcm(sound(3, 3.0))
    offline = recogniser.transcribe(heard(data))

    async def listen():
        async with Client(app.port) as client:
            ready = await client.hear()
            await client.all(data, chunk=1000)
            return ready, client

    ready, client = run(listen())
    assert len(offline.text) > 5
    assert client.text == offline.text
    assert [w["text"] for w in client.words] == [w.text for w in offline.words]
    assert [w["start"] for w in client.words] == pytest.approx([w.start for w in offline.words], abs=1e-3)
    assert client.seconds == 3.0
    assert client.code == 1000
    assert (ready["type"], ready["samples"], ready["rate"], ready["resampling_ms"]) == ("ready", 0, RATE, 0.0)
    assert all(m["compute_ms"] >= 0 for m in client.messages if m["type"] == "caption")


@pytest.mark.parametrize(("rate", "form"), [(48000, "s16le"), (11025, "f32le"), (44100, "s16le")])
def test_other_rates_are_resampled_as_offline(app, recogniser, rate, form):
    x = sound(4, 2.0, rate).numpy()
    data = pcm(x) if form == "s16le" else x.astype("<f4").tobytes()
    offline = recogniser.transcribe(resampled(heard(data) if form == "s16le" else torch.from_numpy(x), rate, RATE))

    async def listen():
        async with Client(app.port, rate=rate, format=form) as client:
            return await client.all(data, chunk=4444), client

    text, client = run(listen())
    assert text == offline.text
    assert client.messages[0]["resampling_ms"] > 0


def test_a_beam_shows_what_may_still_change(recogniser):
    data, decoder = pcm(sound(3, 3.0)), PrefixBeam(recogniser.layer.d_out, 4)

    async def listen(port):
        async with Client(port) as client:
            await client.all(data, chunk=1000)
            return client

    with server(recogniser, listeners=Listeners(recogniser, 4, decoder)) as app:
        client = run(listen(app.port))
    assert client.text == recogniser.transcribe(heard(data), decoder).text
    assert any(m["provisional"] for m in client.messages if m["type"] == "caption")
    assert client.provisional == ""


def test_many_at_once_do_not_mix(app, recogniser):
    datas = [pcm(sound(20 + i, 1.0 + 0.3 * i)) for i in range(4)]

    async def listen(data, chunk):
        async with Client(app.port) as client:
            return await client.all(data, chunk=chunk)

    async def everyone():
        return await asyncio.gather(*(listen(d, 400 + 222 * i) for i, d in enumerate(datas)))

    assert run(everyone()) == [recogniser.transcribe(heard(d)).text for d in datas]


def test_a_file_is_sent_faster_than_it_lasts(app, recogniser):
    """Paced by what was heard, not by the clock: the backlog never closes it."""
    data = pcm(sound(5, 25.0))

    async def listen():
        async with Client(app.port) as client:
            return await client.all(data, chunk=16000, pace=4.0)

    assert run(listen()) == recogniser.transcribe(heard(data)).text


def test_the_page_and_its_neighbours(app, recogniser):
    with urlopen(app.url) as page:
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert page.headers["Content-Type"].startswith("text/html")
    about = json.load(urlopen(f"{app.url}/about"))
    assert about["model"] == "attention_lstm"
    decoding = sum(t.nbytes for t in BestPath().init_state().values())
    assert about["state_bytes"] == trees.nbytes(recogniser.layer.init_state(1)) + decoding
    assert about["cache_bytes"] == 2 * 3 * 16 * 4 / 0.04
    assert about["algorithmic_ms"] == pytest.approx(1e3 * float(recogniser.latency))
    assert json.load(urlopen(f"{app.url}/health"))["status"] == "ok"
    with pytest.raises(HTTPError, match="404"):
        urlopen(f"{app.url}/../../pyproject.toml")


def metrics(app):
    with urlopen(f"{app.url}/metrics") as answer:
        text = answer.read().decode()
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))


def test_metrics_count_what_happened(recogniser):
    data = pcm(sound(6, 1.0))

    async def listen(port):
        async with Client(port) as client:
            await client.all(data)
        async with Client(port) as client:
            await client.say("nonsense")
            await client.hear("error")
            await client.hear()

    with server(recogniser) as app:
        run(listen(app.port))
        # the last client is told why before its row is given back
        lines = next(found for _ in range(200) if float((found := metrics(app))["lamina_listeners"]) == 0)
    assert float(lines["lamina_sound_seconds_total"]) == 1.0
    assert float(lines['lamina_errors_total{kind="garbage"}']) == 1
    assert float(lines["lamina_compute_seconds_count"]) >= 2
    assert float(lines["lamina_ticks_total"]) >= 1


def test_a_stream_goes_on_in_another_server_mid_word(recogniser):
    """Saved in one server, resumed in another: text and words are those of the stream unbroken."""
    data = pcm(sound(7, 4.0, 16000))
    offline = recogniser.transcribe(resampled(heard(data), 16000, RATE))
    assert len(offline.text) > 5

    async def listen(one, other):
        async with Client(one, rate=16000, token=TOKEN) as client:
            await client.send(data[:70_002])
            await client.say({"type": "save"})
            saved = await client.hear("saved")
        async with Client(other, rate=16000, token=TOKEN, resume=saved["stream"]) as client:
            ready = await client.hear("ready")
            await client.all(data[2 * ready["samples"] :])
            return saved["samples"], ready["samples"], client

    with server(recogniser, token=TOKEN) as one, server(recogniser, token=TOKEN) as other:
        saved, resumed, client = run(listen(one.port, other.port))
    assert saved == resumed == 35_001
    assert client.text == offline.text
    assert [w["text"] for w in client.words] == [w.text for w in offline.words]


def test_a_stream_saved_without_a_token_stays_in_its_process(recogniser):
    """Nobody else can seal one: what another server saved is refused."""
    data = pcm(sound(7, 1.0))

    async def listen(one, other):
        async with Client(one) as client:
            await client.send(data)
            await client.say({"type": "save"})
            saved = await client.hear("saved")
        said = []
        for port in (one, other):
            async with Client(port, resume=saved["stream"]) as client:
                said.append(await client.hear())
        return said

    with server(recogniser) as one, server(recogniser) as other:
        mine, theirs = run(listen(one.port, other.port))
    assert mine["type"] == "ready"
    assert (theirs["type"], theirs["kind"]) == ("error", "resume")


def test_serve_says_where_it_listens_and_ends_when_it_is_told(made, monkeypatch):
    told = []

    class Brief(uvicorn.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            self.should_exit = True

    monkeypatch.setattr(uvicorn, "Server", Brief)
    serve(made, port=0, limits=Limits(listeners=1), tell=lambda *said: told.append(said))
    [(url, about)] = told
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
    assert about.model == "attention_lstm"


@pytest.mark.slow
def test_a_stream_goes_on_in_another_process(made):
    """The process that heard the beginning is killed before the other hears the rest."""
    data, whole = pcm(sound(8, 4.0)), Recogniser.of_run(made)

    async def begin(port):
        async with Client(port, token=TOKEN) as client:
            await client.send(data[:30_000])
            await client.say({"type": "save"})
            return (await client.hear("saved"))["stream"]

    async def rest(port, stream):
        async with Client(port, token=TOKEN, resume=stream) as client:
            ready = await client.hear("ready")
            return await client.all(data[2 * ready["samples"] :])

    with process(made, token=TOKEN) as (_, port):
        stream = run(begin(port))
    with process(made, token=TOKEN) as (second, port):
        assert run(rest(port, stream)) == whole.transcribe(heard(data)).text
        second.send_signal(signal.SIGINT)  # Ctrl-C
        assert second.wait(20) == 0
