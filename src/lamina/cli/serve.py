"""lamina serve: live captions in the browser, for many listeners at once."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lamina.cli._decoder import BEAM, HOT, LM, decoder_of

if TYPE_CHECKING:
    from lamina.deploy.serve import About

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command("serve")(serve)


def serve(
    run: Annotated[Path, typer.Argument(help="A run on transcribed speech of a structure that streams, or a bundle.")],
    host: Annotated[str, typer.Option(help="Where to listen; beyond this machine a token is needed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8000,
    listeners: Annotated[int, typer.Option(min=1, help="Streams at once, at most.")] = 32,
    minutes: Annotated[float, typer.Option(min=0.01, help="A stream's length, at most.")] = 60.0,
    frame_bytes: Annotated[int, typer.Option(min=16384, help="Of one message of sound, at most.")] = 65536,
    messages: Annotated[int, typer.Option(min=1, help="A second from one client, at most.")] = 200,
    beam: Annotated[int | None, typer.Option(help=BEAM)] = None,
    lm: Annotated[Path | None, typer.Option(help=LM)] = None,
    hot: Annotated[str | None, typer.Option(help=HOT)] = None,
    token: Annotated[
        str | None, typer.Option(envvar="LAMINA_TOKEN", help="What clients must know.", show_envvar=True)
    ] = None,
    origin: Annotated[
        list[str], typer.Option(help="Where a page that listens comes from, https://HOST; may be given again.")
    ] = [],  # noqa: B006
) -> None:
    """Serve live captions: a page with a microphone, a WebSocket for programs, /health and /metrics.

    lamina train attention_lstm digit_strings, then

    lamina serve runs/train-attention_lstm-digit_strings

    LAMINA_TOKEN=... lamina serve RUN --host 0.0.0.0 --origin https://captions.example.org --listeners 100

    lamina serve RUN --beam 16            with a beam the page shows, lighter, what may still change

    It prints the page's address. Elsewhere than on this machine the page is ADDRESS/#token=TOKEN, behind a proxy with
    https. What goes over the wire: docs/serve.md.
    """
    from lamina.deploy.serve import Limits
    from lamina.deploy.serve import serve as run_server

    logging.basicConfig(format="%(name)s: %(message)s")
    limits = Limits(listeners=listeners, length=60 * minutes, frame_bytes=frame_bytes, messages=messages)
    run_server(
        run,
        host,
        port,
        limits=limits,
        token=token,
        origins=origin,
        decoder=lambda recogniser: decoder_of(recogniser, beam, lm, hot),
        tell=_said,
    )


def _said(url: str, about: About) -> None:
    what = f"{about.model}, {about.weights:,} weights, {about.algorithmic_ms:g} ms algorithmic delay"
    typer.echo(f"{what}: {url} (Ctrl-C ends it)")
