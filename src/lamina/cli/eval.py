"""lamina eval: the score of a trained run on a part of its data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]

ALWAYS = ("part", "metric", "better", "score", "examples")  # what every run's result has


def register(app: typer.Typer) -> None:
    app.command("eval")(evaluate)


def evaluate(
    run: Annotated[Path, typer.Argument(help="The folder that `lamina train` wrote.")],
    part: Annotated[str, typer.Option(help="test, dev or train.")] = "test",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Score a trained run on the test part of its data.

    lamina eval runs/train-lstm-digits

    lamina eval runs/train-lstm-digits --part dev --json
    """
    from lamina.train import evaluate_run, load_run

    found = load_run(run)
    result = evaluate_run(found, part)
    if as_json:
        order = found.facts["order"]
        typer.echo(json.dumps({"run": str(run), "model": order["model"], "data": found.dataset.name, **result}))
    else:
        more = [f"{name.replace('_', ' ')} {result[name]:.4g}" for name in result if name not in ALWAYS]
        told = ", ".join([f"{result['metric']} {result['score']:.4g}", *more])
        typer.echo(f"{run}: {told} on {result['examples']:,} examples of {part}")
