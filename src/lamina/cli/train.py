"""lamina train: one structure on one data set, into a run folder."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lamina.cli._spoken import spoken

if TYPE_CHECKING:
    from lamina.data import DataSet

__all__ = ["DATA_HELP", "folder_name", "keys_of", "number", "progress", "register"]

DATA_HELP = (
    "digits, mnist, cifar10, adding; tokens: copy, induction, mqar, parity, modular, text, with options such as "
    "mqar:pairs=16,length=128; pairs of texts: dates, multi30k, pairs:FILE.tsv; speech: espeak_commands, "
    "espeak_strings, digit_strings, speech_commands, speechocean762, with options such as "
    "espeak_commands:masks=2,noise=100+20+10; to make more of: digit_mels; or your own FILE.npz with x and y, or "
    "FILE.txt; texts with labels: FILE.tsv, .csv, .jsonl; to pretrain on: mlm, mlm:FILE.txt; sounds: a manifest "
    "FILE.jsonl, a line an utterance, speech:FOLDER of sounds with texts or of Kaldi's tables, hub:ORG/NAME of the "
    "Hugging Face Hub."
)
MODEL_HELP = "A structure's name, as in `lamina list`; or speech, behind which both are optional."
USUAL = {"steps": 1000, "lr": 3e-3, "batch_size": 64}
# `lamina train speech`: what brings a recogniser of spoken digits, or a first one of one's own recordings
SPEECH = {"steps": 1500, "lr": 3e-3, "batch_size": 16, "params": "480k"}
SPEAKER, VOICES = "attention_lstm", "espeak_strings:train=3000,noise=100+20+10"
FRAMES = ",masks=1"  # of those voices, where the structure hears features


def register(app: typer.Typer) -> None:
    app.command("train")(train)


def train(
    what: Annotated[list[str], typer.Argument(metavar="MODEL DATA", help=f"{MODEL_HELP} {DATA_HELP}")],
    steps: Annotated[int | None, typer.Option(help="Updates of the weights. Default 1000; speech 1500.")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest rate: a warm-up, then a cosine. Default 3e-3.")] = None,
    seed: Annotated[int, typer.Option(help="First weights, order of the data, dropout.")] = 0,
    batch_size: Annotated[int | None, typer.Option(help="Examples an update, of all processes: 64; speech 16.")] = None,
    params: Annotated[str | None, typer.Option(help="Solve the size for so many weights: 60k; speech 480k.")] = None,
    key: Annotated[
        list[str] | None, typer.Option("--set", help="A key of the model or of its task: d_model=64. Repeat.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option("--from", help="Fine-tune: a run, or a folder of BERT (tokenizer.json) or wav2vec2.")
    ] = None,
    companions: Annotated[
        str | None,
        typer.Option(help="Hidden outputs that answer too in training: how many, or their paths, such as 0.1,1.1."),
    ] = None,
    optim: Annotated[
        str,
        typer.Option(help="adamw, or genetic: no gradient, a step is a generation, --lr how often a weight mutates."),
    ] = "adamw",
    out: Annotated[Path | None, typer.Option(help="The run folder; default runs/train-MODEL-DATA.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train one structure on one data set.

    The run folder holds run.json, config.json and model.safetensors (for lamina.load), history.json and checkpoints.
    The same command goes on with a run that was interrupted.

    lamina train lstm digits

    lamina train transformer adding --steps 3000 --lr 1e-3 --set d_model=32 --set n_layers=2 --out runs/adding

    lamina train lstm mqar:pairs=8,length=64 --steps 2000

    lamina train lstm digits --set n_layers=4 --companions 2            (0: none, also where the model has its own)

    lamina train mlp digits --optim genetic          (no gradient: a population, scored and bred)

    lamina train speech                              (a recogniser of spoken digits, of synthetic voices)

    lamina train speech conformer my/manifest.jsonl  (or speech:FOLDER,masks=2,speed=90+100+110,noise=100+20+10)

    lamina train wav2vec2 my/manifest.jsonl --from RUN                  (RUN: of lamina pretrain)

    lamina train gru my.txt                          (then: lamina generate runs/train-gru-my --prompt "The ")

    lamina train ddpm mnist --set n_classes=10       (then: lamina sample runs/train-ddpm-mnist; so with gan)

    lamina train lstm digit_mels                     (sounds from noise: lamina sample --out digits.wav)

    lamina train bert mlm:my.txt                     (then: lamina fill runs/train-bert-my "a [MASK] text")

    lamina train bert reviews.tsv --from runs/train-bert-my --lr 3e-4       (then: lamina classify)

    accelerate launch --multi_gpu --num_processes 2 -m lamina train lstm digits      (on a CPU too)
    """
    from lamina import data as sets
    from lamina import models
    from lamina.train import Order, Start, train_run

    (model, data), given = _asked(what, {"steps": steps, "lr": lr, "batch_size": batch_size, "params": params})
    row, keys = models.find(model), keys_of(key or [])
    begun, name, data = start and Start.read(start), row.name, sets.seen_by(row.view, data)
    dataset = sets.load(data, begun and begun.vocabulary)
    if begun is not None:
        keys = begun.agreed(name, keys)
    keys = _sized(name, dataset, keys, given["params"])
    first, paths, where = start and str(start.resolve()), taps_of(companions), sets.where(data)
    how = (given["steps"], given["lr"], seed, given["batch_size"])
    order = Order(name, keys, where, *how, start=first, companions=paths, optim=optim)
    folder = out or Path("runs") / f"train-{name}-{folder_name(order.data)}"
    with progress(order.steps, as_json) as (tell, note):
        on_step = tell and (lambda step, loss: tell(step, f"loss {loss:.4f}"))
        facts = train_run(order, dataset, folder, on_step=on_step, on_note=note)
    if int(os.environ.get("RANK", "0")) == 0:
        typer.echo(_said(facts, f"{name} on {dataset.name}", folder, as_json))
        if facts["status"] == "diverged":
            raise typer.Exit(1)


def _asked(what: list[str], given: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """The structure and the data set that are named, and the options with their defaults: those of `speech` where it
    stands first, which names both itself where they are left out.
    """
    from lamina import models
    from lamina.core import UserError

    words, usual = what, USUAL
    if what[0] == "speech":
        model = what[1] if len(what) > 1 else SPEAKER
        voices = VOICES if models.find(model).view == "waveform" else VOICES + FRAMES
        words, usual = [model, *(what[2:] or [voices])], SPEECH
    if len(words) != 2:
        raise UserError(
            f"lamina train {' '.join(what)}: write a structure and a data set, such as lstm digits; or speech"
        )
    return words, {key: usual.get(key) if value is None else value for key, value in given.items()}


def _sized(name: str, dataset: DataSet, keys: dict[str, Any], params: str | None) -> dict[str, Any]:
    """The keys with those that bring the weights to `params`, where that is given."""
    from lamina.compare.budget import solve

    if params is None:
        return keys
    budget = number(params, "--params")
    return solve(name, dataset, budget, keys).required(name, budget).keys


def _said(facts: dict[str, Any], what: str, folder: Path, as_json: bool) -> str:
    """What a finished run came to, for people or as JSON."""
    result = facts["result"]
    if as_json:
        order = facts["order"]
        return json.dumps({"run": str(folder), "status": facts["status"], "model": order["model"], **result})
    if facts["status"] == "diverged":
        kept = f"the weights before it are kept in {folder}"
        return f"{what}: the loss was NaN or inf at step {result['steps']}; {kept}; try a lower --lr"
    score, seconds = f"{result['metric']} {result['dev']:.4g} on dev", f"{result['seconds']:.1f} s"
    lines = [
        f"{what}: {score}, {result['params']:,} weights, {seconds}, in {folder}",
        *spoken(result.get("further", {}), facts["data"]["source"]),
    ]
    heard = f"; lamina transcribe {folder} FILE.wav" if "wer" in result.get("further", {}) else ""
    return "\n".join([*lines, f"next: lamina eval {folder}{heard}"])


def keys_of(pairs: list[str]) -> dict[str, Any]:
    """["d_model=64", "norm=post"] -> {"d_model": 64, "norm": "post"}; values are JSON where they read as JSON."""
    from lamina.core import UserError

    keys: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise UserError(f"--set {pair!r}: not KEY=VALUE; write it like d_model=64")
        try:
            keys[key.replace("-", "_")] = json.loads(value)
        except ValueError:
            keys[key.replace("-", "_")] = value
    return keys


def taps_of(text: str | None) -> int | list[str] | None:
    """ "2" -> 2, "1,3" -> ["1", "3"]; "1," is the one path 1."""
    if text is None or text.isdecimal():
        return None if text is None else int(text)
    return [path.strip() for path in text.split(",") if path.strip()]


def folder_name(data: str) -> str:
    """A data set as part of a folder's name: "mqar:pairs=8" -> "mqar-pairs=8", "texts/mine.txt" -> "mine"."""
    return Path(data).stem.replace(":", "-")


def number(text: str, where: str) -> int:
    """ "60k" -> 60000, "1.5M" -> 1500000."""
    from lamina.core import UserError

    scale = {"k": 1e3, "m": 1e6}.get(text[-1:].lower(), 1.0)
    try:
        found = round(float(text[:-1] if scale > 1 else text) * scale)
    except (ValueError, OverflowError):
        found = 0
    if found < 1:
        raise UserError(f"{where} {text!r}: not a number of weights; write it like 60k, 1.5M or 60000")
    return found


@contextmanager
def progress(
    steps: int, quiet: bool
) -> Iterator[tuple[Callable[[int, str], None] | None, Callable[[int, str], None] | None]]:
    """What is told of steps and of what goes wrong: on a terminal a bar and lines above it, else the lines alone."""
    if int(os.environ.get("RANK", "0")) != 0:
        yield None, None
        return
    if quiet or not sys.stderr.isatty():
        yield None, lambda step, words: typer.echo(f"step {step}: {words}", err=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("step"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=steps)
        yield (
            lambda step, words: bar.update(task, completed=step, description=words),
            lambda step, words: bar.console.print(f"step {step}: {words}", highlight=False, markup=False),
        )
