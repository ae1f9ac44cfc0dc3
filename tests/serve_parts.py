"""Servers and clients for the tests of lamina serve: a run of random weights that says much, sounds, a client."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from urllib.request import urlopen

import numpy as np
import soundfile
import torch
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from lamina import data
from lamina.data.audio import resampled
from lamina.data.espeak import Voice, say
from lamina.deploy.serve import About, Limits
from lamina.deploy.serve.run import prepared
from lamina.speech import Listeners
from lamina.train import Order, train_run
from recogniser_parts import RATE

__all__ = [
    "TOKEN",
    "Client",
    "emptied",
    "heard",
    "pcm",
    "process",
    "run",
    "server",
    "spoken",
    "spoken_run",
]

TOKEN = "a token that nobody guesses"


def spoken(digits, folder, rate=RATE):
    """Digit strings said by one voice of eSpeak NG, with silence before, between and behind: their files."""
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    words, said = say([(name, Voice("en-us", 150)) for name in names])
    words = [resampled(word, said, rate) for word in words]
    rng, files = np.random.default_rng(0), []
    for i, string in enumerate(digits):
        parts = [rng.normal(0, 1e-3, round(rate * rng.uniform(0.1, 1.5)))]
        for digit in string:
            parts += [words[int(digit)].numpy(), rng.normal(0, 1e-3, round(rate * rng.uniform(0.1, 0.3)))]
        files.append(folder / f"said-{i}.wav")
        soundfile.write(files[-1], np.concatenate([*parts, np.zeros(rate // 5)]), rate)
    return files


def spoken_run(folder):
    """A run that reads the digits of that one voice (synthetic): each digit is a character of its text."""
    rng = np.random.default_rng(1)
    digits = ["".join(map(str, rng.integers(0, 10, rng.integers(1, 5)))) for _ in range(200)]
    files = spoken(digits, folder)
    part = ["dev" if i % 13 == 0 else "test" if i % 13 == 1 else "train" for i in range(len(files))]
    rows = [{"split": p, "audio": f.name, "text": " ".join(d)} for f, d, p in zip(files, digits, part, strict=True)]
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    name, keys = str(folder / "mine.jsonl"), {"d_model": 48, "d_ff": 96, "n_heads": 4, "left": 16, "right": 2}
    order = Order("attention_lstm", keys, name, steps=200, lr=3e-3, batch_size=16)
    train_run(order, data.load(name), folder / "run")
    return folder / "run"


def pcm(x):
    """As s16le bytes."""
    return (np.asarray(x) * 32767).round().astype("<i2").tobytes()


def heard(data):
    """What those bytes say, [n] float32."""
    return torch.from_numpy(np.frombuffer(data, "<i2").astype(np.float32) / 32768)


@contextmanager
def server(recogniser, *, limits=None, token=None, origins=(), listeners=None):
    """A real server in this process; gives its App, with `port` and `url`."""
    limits = limits or Limits(listeners=4)
    listeners = listeners or Listeners(recogniser, limits.listeners)
    about = About.of(recogniser, listeners.decoder)
    with prepared(listeners, about, "127.0.0.1", 0, limits, token, list(origins)) as (own, config, app):
        app.port = own.getsockname()[1]
        app.url = f"http://127.0.0.1:{app.port}"
        config.timeout_graceful_shutdown = 1
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [own]}, daemon=True)
        thread.start()
        try:
            yield app
        finally:
            running.should_exit = True
            thread.join(10)


@contextmanager
def process(run, *options, token=None):
    """`lamina serve` in a process of its own; gives the process and its port."""
    command = [sys.executable, "-m", "lamina", "serve", str(run), "--port", "0", *options]
    env = os.environ | {"PYTHONUNBUFFERED": "1"} | ({"LAMINA_TOKEN": token} if token else {})
    one = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    try:
        line = one.stdout.readline()
        assert "http://127.0.0.1:" in line, line + one.stdout.read()
        yield one, int(line.split("http://127.0.0.1:")[1].split()[0])
    finally:
        one.kill()
        one.wait(10)
        one.stdout.close()


class Client:
    """One listener: says hello, sends, and puts the captions together.

    text and words are what the captions said; messages all that came; code and reason how the connection closed.
    """

    def __init__(self, port, **hello):
        self.port, self.hello = port, {"type": "hello", "rate": RATE} | hello
        self.text, self.provisional, self.words, self.messages = "", "", [], []
        self.seconds, self.code, self.reason = 0.0, None, None

    async def __aenter__(self):
        self.socket = await connect(f"ws://127.0.0.1:{self.port}/listen", compression=None, max_size=None)
        if self.hello["rate"]:
            await self.say(self.hello)
        return self

    async def __aexit__(self, *_):
        await self.socket.close()

    async def say(self, message):
        await self.socket.send(json.dumps(message) if isinstance(message, dict) else message)

    async def hear(self, kind=None):
        """The next message, or the next of that kind; None when the connection is closed."""
        while True:
            try:
                message = json.loads(await self.socket.recv())
            except ConnectionClosed:
                break
            self.messages.append(message)
            if message["type"] == "caption":
                self.text = self.text[: message["at"]] + message["stable"]
                self.provisional, self.seconds = message["provisional"], message["seconds"]
                self.words += message["words"]
            if kind in (None, message["type"]):
                return message
        self.code, self.reason = self.socket.close_code, self.socket.close_reason
        return None

    async def until(self, seconds):
        """Hears captions until so much sound was heard."""
        while self.seconds < seconds:
            assert await self.hear("caption") is not None, self.messages[-1]

    async def send(self, data, chunk=1280, pace=1.0):
        """Sends sound, `pace` seconds ahead of what was heard at most."""
        size = self.hello["rate"] * (4 if self.hello.get("format") == "f32le" else 2)
        start = self.seconds
        for at in range(0, len(data), chunk):
            await self.say(data[at : at + chunk])
            if at / size + start - self.seconds > pace:
                await self.until(at / size + start - pace)

    async def all(self, data, **how):
        """Sends all of it and the end, and hears the whole text."""
        await self.send(data, **how)
        await self.say({"type": "end"})
        await self.hear("end")
        assert await self.hear() is None
        return self.text


def run(work):
    """Runs a coroutine with a limit of a minute, so that a hang is a failure."""
    return asyncio.run(asyncio.wait_for(work, 60))


def emptied(app):
    """Whether no row is taken; asked again while the server sees who has gone."""
    return any('"listeners": 0' in _health(app) or '"listeners":0' in _health(app) for _ in range(200))


def _health(app):
    with urlopen(f"{app.url}/health") as answer:
        return answer.read().decode()
