"""App: the page, the WebSocket, health and metrics under one Starlette application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from lamina.data.audio import needs
from lamina.deploy.serve.about import About
from lamina.deploy.serve.engine import Answer, Engine, Stream
from lamina.deploy.serve.limits import Access, Limits
from lamina.deploy.serve.meters import Meters
from lamina.deploy.serve.protocol import Problem
from lamina.deploy.serve.session import Session

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

__all__ = ["App"]

PAGE = Path(__file__).with_name("page")
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
STUCK = 5.0  # seconds: a tick that takes longer is not healthy
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class App:
    """One server's clients: `starlette` is what uvicorn runs."""

    def __init__(self, engine: Engine, about: About, limits: Limits, access: Access) -> None:
        self.engine, self.about, self.limits, self.access = engine, about, limits, access
        self.meters: Meters = engine.meters
        self.seats: set[Session] = set()
        self.sessions: set[Session] = set()
        self.starlette = self._starlette()

    @contextmanager
    def seated(self, session: Session) -> Iterator[None]:
        """A place among the listeners; Problem where all are taken."""
        if len(self.seats) >= self.limits.listeners:
            raise Problem("full", f"all {self.limits.listeners} places are taken; try again later")
        self.seats.add(session)
        try:
            yield
        finally:
            self.seats.discard(session)

    def _starlette(self) -> Starlette:
        needs("starlette", "lamina serve", "serve")
        from starlette.applications import Starlette
        from starlette.routing import Route, WebSocketRoute

        files = {"/": "index.html"} | {f"/{path.name}": path.name for path in PAGE.iterdir() if path.suffix != ".html"}
        routes = [Route(where, self._file(name)) for where, name in files.items()]
        routes += [Route("/about", self._about), Route("/health", self._health), Route("/metrics", self._metrics)]
        return Starlette(routes=[*routes, WebSocketRoute("/listen", self._listen)], lifespan=self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        self.engine.start(lambda answers: loop.call_soon_threadsafe(_deliver, answers))
        watching = asyncio.create_task(self._watch())
        yield
        watching.cancel()
        self.engine.stop()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self.limits.idle / 4, self.limits.length / 4))
            now = perf_counter()
            for session in list(self.seats):
                session.watch(now)

    async def _listen(self, socket: WebSocket) -> None:
        from starlette.responses import PlainTextResponse
        from starlette.websockets import WebSocketDisconnect

        origin = socket.headers.get("origin")
        if not self.access.admits(origin):
            self.meters.errors.labels("origin").inc()
            said = f"the page's origin {origin} is not admitted; start the server with --origin {origin}\n"
            return await socket.send_denial_response(PlainTextResponse(said, 403))
        if len(self.sessions) >= 2 * self.limits.listeners:  # who has no seat is told so; a crowd is not heard
            self.meters.errors.labels("full").inc()
            return await socket.send_denial_response(PlainTextResponse("too many connections; try again later\n", 503))
        session = Session(self, socket)
        self.sessions.add(session)
        try:
            await socket.accept()
            await session.run()
        except WebSocketDisconnect:  # while something was said to it
            self.meters.vanished.inc()
        finally:
            self.sessions.discard(session)
        return None

    def _file(self, name: str) -> Any:
        from starlette.responses import Response

        path = PAGE / name
        data, kind = path.read_bytes(), KINDS[path.suffix]

        async def file(_: Request) -> Response:
            return Response(data, media_type=kind, headers=HEADERS)

        return file

    async def _about(self, _: Request) -> Response:
        from starlette.responses import JSONResponse

        more = {"frame_bytes": self.limits.frame_bytes, "token": self.access.token is not None}
        return JSONResponse(self.about.facts() | more, headers=HEADERS)

    async def _health(self, _: Request) -> Response:
        from starlette.responses import JSONResponse

        since = self.engine.since
        well = self.engine.thread.is_alive() and (since is None or perf_counter() - since < STUCK)
        said = {"status": "ok" if well else "the engine does not move", "listeners": len(self.seats)}
        return JSONResponse(said | {"places": self.limits.listeners}, 200 if well else 503)

    async def _metrics(self, request: Request) -> Response:
        from starlette.responses import PlainTextResponse, Response

        if not self.access.knows(request.headers.get("authorization", "").removeprefix("Bearer ")):
            return PlainTextResponse("give the token as Authorization: Bearer TOKEN\n", 401)
        return Response(self.meters.text(), media_type="text/plain; version=0.0.4")


def _deliver(answers: list[tuple[Stream, Answer]]) -> None:
    for stream, answer in answers:
        stream.tell(answer)
