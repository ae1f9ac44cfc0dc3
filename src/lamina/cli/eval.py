"""lamina eval: the score of a trained run on a part of its data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lamina.cli._spoken import spoken

if TYPE_CHECKING:
    from lamina.train import Run

__all__ = ["register"]

ALWAYS = ("part", "metric", "better", "score", "examples")  # what every run's result has


def register(app: typer.Typer) -> None:
    app.command("eval")(evaluate)


def evaluate(
    run: Annotated[Path, typer.Argument(help="The folder that `lamina train` wrote.")],
    part: Annotated[str, typer.Option(help="test, dev or train; of strings in noise also snr=5.")] = "test",
    streaming: Annotated[
        bool, typer.Option(help="Of speech: with all of the past, with the stream's context, and in true steps.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Score a trained run on the test part of its data.

    lamina eval runs/train-lstm-digits

    lamina eval runs/train-lstm-digits --part dev --json

    Of speech with text also the words and characters that are wrong, of which kind, and how sure that is.

    lamina eval RUN --streaming          what streaming costs, and that steps give the same text: exit status 1 if not
    """
    from lamina.train import evaluate_run, load_run

    found = load_run(run)
    if streaming:
        _streaming(run, found, part, as_json)
        return
    result = evaluate_run(found, part)
    if as_json:
        order = found.facts["order"]
        named = {"run": str(run), "model": order["model"], "data": found.dataset.name}
        typer.echo(json.dumps({**named, "source": found.facts["data"]["source"], **result}))
    else:
        numbers = [name for name in result if name not in ALWAYS and isinstance(result[name], float)]
        more = [f"{name.replace('_', ' ')} {result[name]:.4g}" for name in numbers]
        told = ", ".join([f"{result['metric']} {result['score']:.4g}", *more])
        typer.echo(f"{run}: {told} on {result['examples']:,} examples of {part}")
        for line in spoken(result, found.facts["data"]["source"]):
            typer.echo(line)


def _streaming(run: Path, found: Run, part: str, as_json: bool) -> None:
    """Three scores side by side."""
    from lamina.core import Layer, NotStreamable, UserError
    from lamina.speech.context import contexts
    from lamina.tasks import Ctc

    split, task = found.part(part), found.task
    if not isinstance(task, Ctc) or not isinstance(task.backbone, Layer):
        raise UserError(f"{run}: --streaming compares texts; {found.dataset.name} is no speech with text")
    try:
        task.backbone.stream_spec()
    except NotStreamable as reason:
        raise UserError(f"{run}: does not stream ({reason})") from None
    scores = contexts(task, split, task.units)
    n = scores.steps.utterances
    if as_json:
        facts = {"run": str(run), "model": found.facts["order"]["model"], "data": found.dataset.name, "part": part}
        typer.echo(json.dumps({**facts, **scores.as_dict()}))
    else:
        what = {"all of the past": scores.full, "the stream's context": scores.limited, "true steps": scores.steps}
        for name, one in what.items():
            rates = (f"{kind} {100 * e.rate:.3g} % ({100 * e.low:.3g} to {100 * e.high:.3g})"
                     for kind, e in (("CER", one.cer), ("WER", one.wer)))  # fmt: skip
            typer.echo(f"{name:20}  {',  '.join(rates)}")
        typer.echo(f"{n - scores.differing} of {n} texts are the same in steps, to the character")
    if scores.differing:
        raise typer.Exit(1)
