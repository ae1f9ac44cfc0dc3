"""lamina stream: live captions of a microphone, a file at the pace of speech, or raw samples on stdin."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lamina.cli._decoder import BEAM, HOT, LM, decoder_of

if TYPE_CHECKING:
    from torch import Tensor

    from lamina.speech import Recogniser
    from lamina.speech.listeners import Caption

__all__ = ["register"]

DIM, PLAIN, CLEAR = "\x1b[2m", "\x1b[0m", "\r\x1b[K"


def register(app: typer.Typer) -> None:
    app.command("stream")(stream)


def stream(
    run: Annotated[Path, typer.Argument(help="A run of speech with text, or a bundle of it.")],
    source: Annotated[
        str | None, typer.Argument(help="A sound file, or - for raw samples; default microphone.")
    ] = None,
    rate: Annotated[int | None, typer.Option(help="Of raw samples (s16le, mono), Hz; default the run's.")] = None,
    beam: Annotated[int | None, typer.Option(help=BEAM)] = None,
    lm: Annotated[Path | None, typer.Option(help=LM)] = None,
    hot: Annotated[str | None, typer.Option(help=HOT)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the text and the latencies as JSON.")] = False,
) -> None:
    """Show what is said while it is said.

    What may still change is dim. Ctrl-C ends; three latencies stand on stderr at the end: algorithmic (sound that must
    be heard first, by a resampler too), compute (of each step), emission (sound from a word's end until it stood there
    to stay).

    lamina stream RUN

    lamina stream RUN talk.wav

    arecord -q -f S16_LE -r 16000 -t raw | lamina stream RUN - --rate 16000
    """
    from lamina.cli._sounds import until_interrupted
    from lamina.core import UserError
    from lamina.data.resampler import delay
    from lamina.speech import Recogniser
    from lamina.speech.live import Latencies, captions

    recogniser = Recogniser.of_run(run)
    if recogniser.streams is not None:
        raise UserError(f"{run}: does not stream ({recogniser.streams}); lamina transcribe hears files whole")
    decoder = decoder_of(recogniser, beam, lm, hot)
    sounds, own = _sounds(recogniser, source, rate)
    latencies = Latencies(1e3 * (float(recogniser.latency) + delay(own, recogniser.rate)))
    line, last = _Line(quiet=as_json), None
    with contextlib.suppress(KeyboardInterrupt):  # the second: what is not heard by then is lost
        for last in captions(recogniser, until_interrupted(sounds), latencies, decoder):
            line.show(last)
    line.end()
    figures = latencies.figures()
    if as_json:
        text, seconds = (last.stable, last.seconds) if last else ("", 0.0)
        typer.echo(json.dumps({"run": str(run), "text": text, "seconds": round(seconds, 3), **figures}))
    elif last is not None:
        print(_told(figures), file=sys.stderr)


def _sounds(recogniser: Recogniser, source: str | None, rate: int | None) -> tuple[Iterator[Tensor], int]:
    """The sounds at the recogniser's rate, and the source's own."""
    from lamina.cli._sounds import file_at_pace, microphone, raw
    from lamina.core import UserError
    from lamina.data.long_audio import SoundFile
    from lamina.data.resampler import RATES

    piece = recogniser.layer.stream_spec().block / recogniser.rate
    if rate is not None and source != "-":
        raise UserError("--rate is of raw samples on stdin; leave it out, or give - as the source")
    if rate is not None and not RATES[0] <= rate <= RATES[1]:
        raise UserError(f"--rate {rate}: give samples a second, {RATES[0]:,} to {RATES[1]:,}, such as 16000")
    if source == "-":
        own = rate or recogniser.rate
        return raw(sys.stdin.buffer, own, recogniser.rate, piece), own
    if source is None:
        return microphone(recogniser.rate, piece), recogniser.rate
    file = SoundFile(source)
    return file_at_pace(file, recogniser.rate, piece), file.rate


def _told(figures: dict[str, float | None]) -> str:
    compute = "/".join(f"{figures[f'compute_p{p}_ms']:.3g}" for p in (50, 95, 99))
    emission = figures["emission_p50_ms"]
    emitted = "no word" if emission is None else f"{emission:.3g} ms"
    return f"algorithmic {figures['algorithmic_ms']:.3g} ms, compute p50/p95/p99 {compute} ms, emission {emitted}"


class _Line:
    """One line of the terminal, its end where the text is wider; a pause in speech begins another. Elsewhere than on a
    terminal: the stable text as it comes.
    """

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.live = quiet, sys.stdout.isatty()
        self.begun = self.told = 0  # characters of the stable text in lines that have ended, and those written

    def show(self, caption: Caption) -> None:
        if self.quiet:
            return
        for end in caption.ends[bisect_right(caption.ends, self.begun) :]:
            self._write(caption.stable[:end], "")
            _say("\n")
            self.begun = end
        self._write(caption.stable, caption.provisional)

    def _write(self, text: str, provisional: str) -> None:
        """The text so far, of which the line shows what lies behind `begun`."""
        if self.live:
            wide = shutil.get_terminal_size().columns - 1
            more = provisional[:wide]
            _say(f"{CLEAR}{text[self.begun :].lstrip()[-max(1, wide - len(more)) :]}{DIM}{more}{PLAIN}")
        else:
            new = text[max(self.told, self.begun) :]
            _say(new.lstrip() if self.told <= self.begun else new)
        self.told = len(text)

    def end(self) -> None:
        if not self.quiet and (self.told > self.begun):
            _say("\n")


def _say(text: str) -> None:
    code = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(code, "replace").decode(code))
    sys.stdout.flush()
