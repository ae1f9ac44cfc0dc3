"""lamina compare generate: which generator makes the most lifelike images, under one budget."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["generators", "staged"]


def generators(
    data: list[str], params: str, minutes: float | None, seeds: int, out: Path | None, fresh: bool, as_json: bool,
    others: tuple[Any, ...],
) -> None:  # fmt: skip
    """lamina compare generate: what makes the most lifelike images."""
    from lamina.cli.train import number
    from lamina.compare.generate import Settings, compare_generators
    from lamina.core.config import UserError

    if any(others):
        raise UserError(
            "compare generate: takes --params, --minutes, --seeds, --out, --fresh and --json; leave out the rest"
        )
    if len(data) > 1:
        raise UserError(f"{data[1]!r}: one data set at a time; write lamina compare generate {data[0]}")
    like = data[0] if data else "digits"
    asked = Settings(like, number(params, "--params"), Settings.minutes if minutes is None else minutes, seeds)
    folder = out or Path("runs") / f"compare-generate-{like}"
    with staged(as_json) as stage:
        results = compare_generators(asked, folder, fresh=fresh, stage=stage)
    if as_json:
        print(json.dumps(results, indent=1, allow_nan=False))
        return
    from rich.console import Console
    from rich.table import Table

    from lamina.compare.generate.score import COLUMNS
    from lamina.compare.report_text import exact, three

    table = Table(box=None, pad_edge=False)
    table.add_column("generator")
    for title in (*(title for _, title, _ in COLUMNS), "weights", "learning, s"):
        table.add_column(title, justify="right")
    for row in results["rows"]:
        scores = [three(row[key]) for key, _, _ in COLUMNS]
        bold = "bold" if row["model"] == results["best"] else ""
        table.add_row(row["model"], *scores, exact(row["weights"]), three(row["seconds"]), style=bold)
    console = Console() if sys.stdout.isatty() else Console(width=160)
    console.print(table)
    console.print(results["verdict"], highlight=False, markup=False, soft_wrap=not console.is_terminal)
    console.print(f"report: {folder / 'report.html'}", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def staged(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar with what is being done, on a terminal; silence otherwise."""
    if quiet or not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda words, done, of: bar.update(task, description=words, completed=done, total=of or None)
