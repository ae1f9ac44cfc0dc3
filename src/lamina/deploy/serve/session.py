"""Session: one client's connection, from its hello to its end."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any

from lamina.deploy.serve import protocol, sound
from lamina.deploy.serve.engine import Answer, Heard, Ready, SavedStream, Sound, Stream
from lamina.deploy.serve.protocol import Problem
from lamina.deploy.serve.teller import Teller

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from lamina.deploy.serve.app import App

__all__ = ["Session"]

PATIENCE = 2.0  # seconds for the last words to a client that is closed
UNREAD = 4  # saved streams that may wait to be taken
SPAN = 10.0  # seconds that a rate of messages is counted over


class Session:
    """Reads a client's messages into the engine, and sends it what the engine answers.

    Only the newest caption waits to be sent, so a client that reads slowly holds nothing up and grows nothing; one that
    does not read at all is closed after `limits.slow` seconds.
    """

    def __init__(self, app: App, socket: WebSocket) -> None:
        self.app, self.limits, self.socket = app, app.limits, socket
        self.began = self.spoke = perf_counter()
        self.sending: float | None = None  # since when a message waits to be taken
        self.teller, self.others = Teller(), deque[dict[str, Any]]()
        self.problem: Problem | None = None
        self.gone = self.asked_to_end = False
        self.news = asyncio.Event()
        self.stream: Stream | None = None
        self.allowed, self.counted = SPAN * self.limits.messages, self.began  # messages left, and when that was so

    async def run(self) -> None:
        """The whole of it."""
        try:
            hello = await asyncio.wait_for(self._hello(), self.limits.hello)
        except TimeoutError:
            return await self._close(Problem("idle", f"no hello within {self.limits.hello:g} s; connect and say hello"))
        except Problem as problem:
            return await self._close(problem)
        if hello is None:
            return None
        self.stream = Stream(hello, self.tell)
        reading = asyncio.create_task(self._read(self.stream))
        try:
            with self.app.seated(self):
                self.app.engine.put(self.stream, "join")
                await self._write()
        except Problem as problem:  # no seat
            await self._close(problem)
        finally:
            reading.cancel()
            self.app.engine.put(self.stream, "leave")
        return None

    def tell(self, answer: Answer) -> None:
        """What the engine answers, said in the event loop."""
        if isinstance(answer, Problem):
            self.problem = self.problem or answer
        elif isinstance(answer, Heard):
            self.teller.see(answer.caption, answer.at)
            if not answer.caption.ended and answer.caption.seconds > self.limits.length:
                self.fail("too_long", f"{self.limits.length:g} s of sound are a stream's most; begin a new one")
        elif isinstance(answer, SavedStream):
            self.others.append({"type": "saved", "stream": protocol.encoded(answer.data), "samples": answer.samples})
            if len(self.others) > UNREAD:
                self.fail("slow", "saved streams are asked for and not read; read them")
        elif isinstance(answer, Ready):
            ready = {"type": "ready", "samples": answer.samples, "resampling_ms": round(1e3 * answer.delay, 1)}
            self.others.append(ready | self.app.about.facts())
        self.news.set()

    def fail(self, kind: str, message: str) -> None:
        """Closes the client with that reason, unless another came first."""
        self.problem = self.problem or Problem(kind, message)
        self.news.set()

    def watch(self, now: float) -> None:
        """Closes a client that is silent, takes nothing or has been here too long; called every second or so."""
        if now - self.began > self.limits.length:
            self.fail("too_long", f"{self.limits.length:g} s are a stream's most; begin a new one")
        elif now - self.spoke > self.limits.idle and not self.asked_to_end:
            self.fail("idle", f"nothing came for {self.limits.idle:g} s; send sound, or end the stream")

    async def _hello(self) -> protocol.Hello | None:
        """The hello; None for a client that vanished before it."""
        data = await self._next()
        if data is None:
            return None
        hello = protocol.hello(data)
        if not self.app.access.knows(hello.token):
            said = "is not right" if hello.token else "is missing"
            raise Problem("token", f"the token {said}; the one who runs this server gives it")
        return hello

    async def _next(self) -> str | bytes | None:
        """The next message within the limits; None for a client that is gone."""
        message = await self.socket.receive()
        if message["type"] != "websocket.receive":
            return None
        self.spoke = now = perf_counter()
        per_second, most = self.limits.messages, SPAN * self.limits.messages
        self.allowed = min(most, self.allowed + (now - self.counted) * per_second) - 1
        self.counted = now
        if self.allowed < 0:
            raise Problem("too_many", f"{per_second} messages a second are the most; send longer ones")
        data: str | bytes = message["text"] if message.get("bytes") is None else message["bytes"]
        limit = self.limits.frame_bytes if isinstance(data, bytes) else self.limits.text_bytes
        if len(data) > limit:
            raise Problem("too_big", f"a message of {len(data):,} bytes; {limit:,} are the most: send shorter ones")
        return data

    async def _read(self, stream: Stream) -> None:
        """Hands all that comes to the engine."""
        size = sound.FORMATS[stream.hello.format].itemsize * stream.hello.rate  # bytes a second
        engine = self.app.engine
        try:
            while (data := await self._next()) is not None:
                if self.asked_to_end:
                    raise Problem("order", "a message came behind the end; open another connection for more")
                if isinstance(data, bytes):
                    if engine.put(stream, Sound(data, len(data) / size, self.spoke)) > self.limits.waiting:
                        raise Problem(
                            "behind", f"more than {self.limits.waiting:g} s of sound wait to be heard; send at "
                            'the pace of the captions\' "seconds"')  # fmt: skip
                else:
                    ask = protocol.command(data)
                    self.asked_to_end = ask == "end"
                    engine.put(stream, ask)  # type: ignore[arg-type]
        except Problem as problem:
            self.fail(problem.kind, str(problem))
        else:
            self.gone = True
            self.news.set()

    async def _write(self) -> None:
        """Sends answers until the stream is over or the client is gone."""
        while True:
            await self.news.wait()
            self.news.clear()
            if self.gone:
                self.app.meters.vanished.inc()
                return None
            if self.problem is not None:
                return await self._close(self.problem)
            while self.others and await self._send(self.others.popleft()):
                pass
            if self.problem is None and await self._told() and await self._send({"type": "end"}):
                return await self._closed(1000, "")

    async def _told(self) -> bool:
        """Sends the newest caption, if there is one; whether it was the last."""
        message = self.teller.message(now := perf_counter())
        if message is None:
            return False
        if not message["ended"]:
            self.app.meters.compute.observe(now - self.teller.at)
        return await self._send(message) and bool(message["ended"])

    async def _send(self, message: dict[str, Any]) -> bool:
        """Whether it was taken."""
        try:
            async with asyncio.timeout(self.limits.slow):
                await self.socket.send_text(json.dumps(message))
        except TimeoutError:
            self.fail("slow", f"no message was taken for {self.limits.slow:g} s; read them")
        return self.problem is None

    async def _close(self, problem: Problem) -> None:
        """Tells why, if the client still listens, and closes it."""
        self.app.meters.errors.labels(problem.kind).inc()
        said = str(problem).encode("ascii", "replace")[:120].decode()  # a reason has 123 bytes at most
        await self._closed(problem.code, said, json.dumps(problem.message()))

    async def _closed(self, code: int, reason: str, last: str | None = None) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                if last is not None:
                    await self.socket.send_text(last)
                await self.socket.close(code, reason)
        except TimeoutError:
            self.gone = True  # it takes nothing: the connection is cut behind this
