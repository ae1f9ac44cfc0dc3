"""lamina serve under load: real WebSocket clients at real-time pace, some of which are killed and some misbehave."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.request import urlopen

import numpy as np
import torch

from lamina.core import UserError
from lamina.data.audio import needs, resampled
from lamina.data.espeak import Voice, say
from lamina.speech import Recogniser
from lamina.train.machine import environment

__all__ = ["bench_serve"]

CHUNK = 0.04  # seconds of sound in a message
SOUNDS = 12  # different ones; clients share them
VOICES = ("en-us", "en-us+f2", "en-us+m3", "en-us+f4")
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
PATIENCE = 60.0  # seconds that a client waits beyond its sound for all that it does
# messages at a wrong time, that are none, or hold no samples, and what they are closed for
REFUSALS = {"garbage", "order", "too_big", "1009"}
WRONG = (b"\0", "hi there", '{"type": "hello", "rate": 8000}', '{"type": "sav"}', bytes(1 << 17), bytes(1 << 24))


@dataclass
class _Client:
    """One listener: what it sends, what becomes of it, and what it hears."""

    data: bytes
    rate: int
    fate: str  # stays, killed or misbehaves
    at: float  # seconds after its start when that happens
    text: str = ""
    done: bool = False
    refused: str = ""  # the kind of error, or the code of who cut it
    lost: bool = False  # it could not connect, or was not answered in time
    sent: deque[tuple[float, float]] = field(default_factory=deque)  # seconds of sound so far, when these were sent
    compute: list[float] = field(default_factory=list)  # ms, of each caption, as the server says
    caption: list[float] = field(default_factory=list)  # ms, from a chunk to the caption that has heard it, as it sees
    late: list[float] = field(default_factory=list)  # ms, of each message behind its time


def bench_serve(
    run: Path, clients: int, seconds: float, killed: int, misbehave: int, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Clients that send chunks of 40 ms as they are spoken, for so many seconds, to `lamina serve` in another process.

    Every third client has 48 kHz and is resampled. Red unless each client that stays hears the text that its sound
    gives offline, each that misbehaves is refused for that, nobody else is refused or waits in vain, all rows are free
    in the end, and the server is in health. Over clients that stay, the last caption left out: caption_ms, from the
    sending of a chunk to the first caption that has heard all of it, as clients at the model's rate see them, and
    compute_ms of each caption, as the server says.
    """
    if min(killed, misbehave) < 0 or killed + misbehave >= clients:
        raise UserError(f"bench serve: of {clients} clients {killed} are killed, {misbehave} misbehave: one must stay")
    needs("websockets", "lamina bench serve", "serve")
    tell("speaking, and reading what was said offline")
    recogniser = Recogniser.of_run(run)
    spoken = _spoken(recogniser, seconds)
    rng = random.Random(0)
    fates = ["killed"] * killed + ["misbehaves"] * misbehave + ["stays"] * (clients - killed - misbehave)
    rng.shuffle(fates)
    everyone = [
        _Client(*spoken[i % len(spoken)][:2], fate, rng.uniform(0.1, 0.9) * seconds) for i, fate in enumerate(fates)
    ]
    with _server(run, clients) as url:
        tell(f"{clients} clients for {seconds:g} s")
        asyncio.run(_all(url, everyone))
        health, free = _health(url)
    staying = [(i, one) for i, one in enumerate(everyone) if one.fate == "stays"]
    equal = sum(one.done and one.text == spoken[i % len(spoken)][2] for i, one in staying)
    refused = sum(one.refused in REFUSALS for one in everyone if one.fate == "misbehaves")
    lost = sum(one.lost or (one.fate == "killed" and one.refused != "") for one in everyone)
    return {
        "what": f"{clients} clients, chunks of 40 ms at real-time pace for {seconds:g} s, {killed} killed, "
        f"{misbehave} misbehave",
        "model": recogniser.facts["order"]["model"],
        "params": sum(p.numel() for p in recogniser.layer.parameters()),
        "stay": len(staying),
        "equal": equal,
        "characters": sum(len(one.text) for _, one in staying),
        "refused": refused,
        "lost": lost,
        "caption_ms": _shares([t for _, one in staying if one.rate == recogniser.rate for t in one.caption]),
        "compute_ms": _shares([t for _, one in staying for t in one.compute]),
        "client_late_ms": _shares([t for _, one in staying for t in one.late]),
        "health": health,
        "free": free,
        "red": equal < len(staying) or refused < misbehave or lost > 0 or health != "ok" or not free,
        "env": environment(),
    }


def _spoken(recogniser: Recogniser, seconds: float) -> list[tuple[bytes, int, str]]:
    """Digits said by eSpeak NG (synthetic): s16le, their rate, and the text that the recogniser reads offline."""
    rng, found = np.random.default_rng(0), []
    words, said = say([(word, Voice(voice)) for voice in VOICES for word in WORDS])
    for i in range(SOUNDS):
        rate = 48000 if i % 3 == 2 else recogniser.rate
        mine = [resampled(word, said, rate).numpy() for word in words[i % len(VOICES) * 10 :][:10]]
        parts, n = [], 0
        while n < seconds * rate:
            parts += [mine[rng.integers(10)], rng.normal(0, 1e-3, round(rate * rng.uniform(0.05, 0.4)))]
            n += len(parts[-2]) + len(parts[-1])
        data = (np.concatenate(parts)[: round(seconds * rate)].clip(-1, 1) * 32767).round().astype("<i2")
        heard = torch.from_numpy(data.astype(np.float32) / np.float32(32768))
        text = recogniser.transcribe(resampled(heard, rate, recogniser.rate)).text
        found.append((data.tobytes(), rate, text))
    return found


@contextmanager
def _server(run: Path, clients: int) -> Iterator[str]:
    command = [sys.executable, "-m", "lamina", "serve", str(run), "--port", "0", "--listeners", str(clients)]
    env = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    try:
        assert process.stdout is not None
        found = re.search(r"http://[\d.]+:\d+", process.stdout.readline())
        if found is None:
            raise UserError(f"bench serve: `{' '.join(command[1:])}` does not start; run it to see why")
        yield found[0]
    finally:
        process.kill()
        process.wait()


async def _all(url: str, everyone: list[_Client]) -> None:
    start = perf_counter() + 1.0
    rng = random.Random(1)
    await asyncio.gather(*(_client(url, one, start + rng.random()) for one in everyone))


async def _client(url: str, one: _Client, start: float) -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed, InvalidHandshake

    await asyncio.sleep(start - perf_counter())
    try:
        async with (
            asyncio.timeout(len(one.data) / 2 / one.rate + PATIENCE),
            connect(f"ws{url[4:]}/listen", compression=None, max_size=None, open_timeout=PATIENCE) as socket,
        ):
            hearing = asyncio.create_task(_hear(socket, one))
            try:
                await _send(socket, one)
            except ConnectionClosed:  # seen by who hears: an error, or none
                one.done = False
            await hearing
    except (OSError, InvalidHandshake):  # a timeout is an OSError
        one.lost = True


async def _send(socket: Any, one: _Client) -> None:
    """Each chunk at the time when its last sample would have been spoken."""
    size, begin = 2 * round(CHUNK * one.rate), perf_counter()
    await socket.send(json.dumps({"type": "hello", "rate": one.rate}))
    for i in range(len(one.data) // size):
        due = begin + (i + 1) * CHUNK
        await asyncio.sleep(max(0.0, due - perf_counter()))
        if one.fate != "stays" and due - begin > one.at:
            if one.fate == "killed":
                socket.transport.abort()
                return
            await socket.send(WRONG[i % len(WRONG)])
            await socket.wait_closed()
            return
        now = perf_counter()
        one.late.append(1e3 * (now - due))
        one.sent.append(((i + 1) * size / 2 / one.rate, now))
        await socket.send(one.data[i * size : (i + 1) * size])
    await socket.send(one.data[len(one.data) // size * size :])
    await socket.send(json.dumps({"type": "end"}))


async def _hear(socket: Any, one: _Client) -> None:
    from websockets.exceptions import ConnectionClosed

    while True:
        try:
            message = json.loads(await socket.recv())
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code == 1009:
                one.refused = one.refused or "1009"
            return
        now = perf_counter()
        if message["type"] == "caption":
            one.text = one.text[: message["at"]] + message["stable"]
            if not message["ended"]:
                one.compute.append(message["compute_ms"])
                while one.sent and one.sent[0][0] < message["seconds"] + 1e-3:  # which is rounded
                    one.caption.append(1e3 * (now - one.sent.popleft()[1]))
        if message["type"] == "error":
            one.refused = message["kind"]
        one.done |= message["type"] == "end"


def _health(url: str) -> tuple[str, bool]:
    """What the server says of itself, and whether all rows are free."""
    with urlopen(f"{url}/health") as answer:
        health = json.load(answer)["status"]
    with urlopen(f"{url}/metrics") as answer:
        return health, "\nlamina_listeners 0.0" in answer.read().decode()


def _shares(times: list[float]) -> dict[str, float]:
    if not times:
        return {}
    shares = {f"p{p}": float(np.percentile(times, p)) for p in (50, 95, 99)} | {"max": max(times)}
    return {name: round(value, 2) for name, value in shares.items()} | {"n": len(times)}
