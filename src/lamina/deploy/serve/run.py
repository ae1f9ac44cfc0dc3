"""serve: the application behind uvicorn, on a socket of its own."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lamina.core import UserError
from lamina.data.audio import needs
from lamina.deploy.serve.about import About
from lamina.deploy.serve.app import App
from lamina.deploy.serve.engine import Engine
from lamina.deploy.serve.limits import Access, Limits
from lamina.deploy.serve.meters import Meters
from lamina.speech.decode import BestPath, Decoder
from lamina.speech.listeners import Listeners
from lamina.speech.recogniser import Recogniser

__all__ = ["prepared", "serve"]


def serve(
    run: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    limits: Limits | None = None,
    token: str | None = None,
    origins: list[str] | None = None,
    decoder: Callable[[Recogniser], Decoder] = lambda _: BestPath(),
    tell: Callable[[str, About], None] = lambda url, about: None,
) -> None:
    """Serves a run until it is interrupted. port 0: any free one. decoder: made for the recogniser. tell(url, about):
    called when it listens.

    Raises UserError for a run that does not stream, for an address that is taken, or for one that others reach without
    a token and the origins of its pages.
    """
    limits = limits or Limits()
    Access.of(host, port, token, origins or [])  # before the run is read
    recogniser = Recogniser.of_run(run)
    chosen = decoder(recogniser)
    about = About.of(recogniser, chosen)
    listeners = Listeners(recogniser, limits.listeners, chosen)
    with prepared(listeners, about, host, port, limits, token, origins or []) as (own, config, _):
        tell(f"http://{f'[{host}]' if ':' in host else host}:{own.getsockname()[1]}", about)
        with contextlib.suppress(KeyboardInterrupt):  # the usual end: uvicorn has closed all connections by then
            _uvicorn().Server(config).run(sockets=[own])


@contextlib.contextmanager
def prepared(
    listeners: Listeners, about: About, host: str, port: int, limits: Limits, token: str | None, origins: list[str]
) -> Iterator[tuple[socket.socket, Any, App]]:
    """A socket that listens, what uvicorn is to do with it, and the application, whose engine is warm."""
    uvicorn = _uvicorn()
    with _listening(host, port) as own:
        access = Access.of(host, own.getsockname()[1], token, origins)
        engine = Engine(listeners, Meters(), token)
        engine.warm()
        app = App(engine, about, limits, access)
        config = uvicorn.Config(
            app.starlette, log_level="warning", ws="websockets-sansio", ws_max_size=limits.text_bytes,
            ws_per_message_deflate=False, timeout_graceful_shutdown=5, server_header=False,
        )  # fmt: skip
        yield own, config, app


def _uvicorn() -> Any:
    needs("websockets", "lamina serve", "serve")
    return needs("uvicorn", "lamina serve", "serve")


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        raise UserError(f"{host}:{port}: cannot be listened on ({error}); give another --port or --host") from None
