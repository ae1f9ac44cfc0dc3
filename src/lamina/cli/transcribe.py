"""lamina transcribe: sound files as text, JSON or subtitles."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lamina.cli._decoder import BEAM, HOT, LM, decoder_of

if TYPE_CHECKING:
    from lamina.speech import Recogniser
    from lamina.speech.decode import Decoder

__all__ = ["register"]

SUFFIX = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt"}


def register(app: typer.Typer) -> None:
    app.command("transcribe")(transcribe)


def transcribe(
    run: Annotated[Path, typer.Argument(help="A run of speech with text, or a bundle of it.")],
    files: Annotated[list[Path], typer.Argument(help="Sounds at any rate: WAV, FLAC, Ogg, MP3.")],
    form: Annotated[str, typer.Option("--format", help="text, json, srt or vtt.")] = "text",
    out: Annotated[Path | None, typer.Option(help="A folder for one file a sound; default the terminal.")] = None,
    beam: Annotated[int | None, typer.Option(help=BEAM)] = None,
    lm: Annotated[Path | None, typer.Option(help=LM)] = None,
    hot: Annotated[str | None, typer.Option(help=HOT)] = None,
) -> None:
    """Write down what is said in sound files, of any length in constant memory.

    A file that cannot be read is named, the others are done, and the exit status is 2.

    lamina train attention_lstm espeak_strings, then

    lamina transcribe runs/train-attention_lstm-espeak_strings a.wav

    lamina transcribe RUN talk.mp3 --format srt > talk.srt

    lamina transcribe RUN *.flac --format vtt --out subtitles

    lamina transcribe RUN a.wav --lm words.arpa --hot "lamina,mamba"
    """
    from lamina.core import UserError
    from lamina.core.config import nearest
    from lamina.speech import Recogniser

    if form not in SUFFIX:
        raise nearest(form, SUFFIX, "--format")
    _room(files, form, out)
    recogniser = Recogniser.of_run(run)
    decoder, failed = decoder_of(recogniser, beam, lm, hot), 0
    for path in files:
        try:
            written = _written(recogniser, decoder, path, form)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            failed += 1
            continue
        if out is not None:
            _write(out / f"{path.stem}{SUFFIX[form]}", written)
        else:
            typer.echo(f"{path}\t{written}" if form == "text" and len(files) > 1 else written, nl=False)
    if failed:
        raise typer.Exit(2)


def _room(files: list[Path], form: str, out: Path | None) -> None:
    """Refuses what would be written over or mixed up, before anything is heard."""
    from lamina.core import UserError

    if out is None:
        if form in ("srt", "vtt") and len(files) > 1:
            raise UserError(f"--format {form} of {len(files)} files: subtitles are a file each; give --out FOLDER")
        return
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: is a file; give a folder")
    stems = [path.stem for path in files]
    for path in files:
        if stems.count(path.stem) > 1:
            raise UserError(f"{path}: another file is called {path.stem} too, and --out would hold one of them; "
                            "transcribe them apart")  # fmt: skip


def _written(recogniser: Recogniser, decoder: Decoder, path: Path, form: str) -> str:
    from lamina.data.long_audio import SoundFile
    from lamina.speech.transcribe import transcribe as heard
    from lamina.speech.written import FORMATS

    with _progress(path, SoundFile(path).seconds) as tell:
        told, seconds = heard(recogniser, path, decoder, tell)
    return FORMATS[form](told, {"file": str(path), "seconds": round(seconds, 3)})


def _write(path: Path, text: str) -> None:
    from lamina.models.io import write_text
    from lamina.train.checkpoint import said_plainly

    with said_plainly(path, path.with_name(f"{path.name}.part")):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    print(f"{path}", file=sys.stderr)


@contextmanager
def _progress(path: Path, seconds: float) -> Iterator[Callable[[float], object]]:
    """On a terminal a bar of the seconds that are heard."""
    if not sys.stderr.isatty():
        yield lambda heard: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f} of {task.total:.0f} s"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(path.name, total=seconds)
        yield lambda heard: bar.update(task, completed=heard)
