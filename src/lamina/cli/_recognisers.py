"""lamina compare speech: recognisers beside each other on fixed recordings."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

__all__ = ["recognisers"]


def recognisers(
    words: list[str], chosen: tuple[str, ...] | None, steps: int | None, seeds: int, out: Path | None,
    fresh: bool, as_json: bool,
) -> None:  # fmt: skip
    """lamina compare speech digits, commands or speechocean."""
    from lamina.cli._generators import staged
    from lamina.compare.speech import STUDIES, compare_speech
    from lamina.compare.speech.page import write
    from lamina.core.config import UserError, nearest

    if len(words) != 1:
        raise UserError(f"compare speech: name one study: {', '.join(STUDIES)}")
    if words[0] not in STUDIES:
        raise nearest(words[0], STUDIES, "study of speech")
    for option, value in (("--seeds", seeds), ("--steps", steps)):
        if value is not None and value < 1:
            raise UserError(f"{option} {value}: give at least 1")
    study = STUDIES[words[0]]
    for name in chosen or ():
        if name not in study.models:
            raise nearest(name, study.models, f"structure of speech {words[0]}")
    models = {name: study.models[name] for name in chosen or study.models}
    study = replace(study, steps=steps or study.steps, models=models)
    folder = out or Path("runs") / f"compare-speech-{words[0]}"
    with staged(as_json) as stage:
        results = compare_speech(words[0], study, seeds, folder, fresh=fresh, stage=stage)
    write(results, folder)
    if as_json:
        print(json.dumps(results, indent=1, allow_nan=False))
    else:
        _table(results, folder)


def _table(results: dict[str, Any], folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from lamina.compare.report_text import exact, three

    table = Table(box=None, pad_edge=False)
    table.add_column("structure")
    for title in (*(f"{column}, %" for column in results["columns"]), "weights", "minutes"):
        table.add_column(title, justify="right")
    for row in results["rows"]:
        if row["status"] != "done":
            table.add_row(row["model"], *[row["status"]] * max(1, len(results["columns"])))
            continue
        scores = [_spread(row["scores"][column]) for column in results["columns"]]
        trained = row["weights"] is not None
        size = (exact(row["weights"]), three(row["minutes"])) if trained else ("as it comes", "not trained")
        table.add_row(row["model"], *scores, *size)
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table)
    seeds = f"{results['seeds']} seeds, \u00b1 one standard deviation" if results["seeds"] > 1 else "one seed"
    lines = [f"{results['says']}; {seeds}", results["data"]["source"], f"report: {folder / 'report.html'}"]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _spread(score: dict[str, Any]) -> str:
    """The mean with the deviation over the seeds; of one seed with the interval over its utterances, if known."""
    mean, (low, high) = f"{score['mean']:.2f}", score["intervals"][0]
    if score["sd"] is not None:
        return f"{mean} \u00b1 {score['sd']:.2f}"
    return mean if low is None else f"{mean} ({low:.2f} to {high:.2f})"
