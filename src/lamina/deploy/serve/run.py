"""serve: the application behind uvicorn, on a socket of its own."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

from lamina.core import UserError
from lamina.deploy.serve.about import About
from lamina.deploy.serve.app import App
from lamina.deploy.serve.engine import Engine
from lamina.deploy.serve.limits import Access, Limits
from lamina.deploy.serve.meters import Meters, needs
from lamina.speech.decode import BestPath, Decoder
from lamina.speech.listeners import Listeners
from lamina.speech.recogniser import Recogniser

__all__ = ["serve"]


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
    uvicorn = needs("uvicorn")
    needs("websockets")
    limits = limits or Limits()
    Access.of(host, port, token, origins or [])
    recogniser = Recogniser.of_run(run)
    chosen = decoder(recogniser)
    about = About.of(recogniser, chosen)
    with _listening(host, port) as own:
        port = own.getsockname()[1]
        access = Access.of(host, port, token, origins or [])
        engine = Engine(Listeners(recogniser, limits.listeners, chosen), Meters(), token)
        engine.warm()
        app = App(engine, about, limits, access)
        config = uvicorn.Config(
            app.starlette, log_level="warning", ws="websockets-sansio", ws_max_size=limits.text_bytes,
            ws_per_message_deflate=False, timeout_graceful_shutdown=5, server_header=False,
        )  # fmt: skip
        tell(f"http://{f'[{host}]' if ':' in host else host}:{port}", about)
        with contextlib.suppress(KeyboardInterrupt):  # the usual end: uvicorn has closed all connections by then
            uvicorn.Server(config).run(sockets=[own])


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        raise UserError(f"{host}:{port}: cannot be listened on ({error}); give another --port or --host") from None
