"""lamina reproduce: a paper's claim, its figure, ours, the spread, the minutes, and a verdict."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command("reproduce")(reproduce)


def reproduce(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help=(
                "Claims: mlp, lstm, lenet, alexnet, additive, transformer, bert, conformer, dsn, mamba, retnet, "
                "gated_retention, deltanet, yoco, gan, ddpm, genetic, ctc, wav2vec2, attention_lstm."
            ),
            show_default=False,
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every claim.")] = False,
    due: Annotated[
        Path | None, typer.Option(help="Claims changed since the records in that folder, and a quarter of the others.")
    ] = None,
    tier: Annotated[str, typer.Option(help="ci: within two minutes a claim. full: the claim as it stands.")] = "ci",
    out: Annotated[Path, typer.Option(help="Folder for records and pictures.")] = Path("runs/claims"),
    against: Annotated[Path | None, typer.Option(help="Last verdicts: exit status 1 where one is worse now.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Write these verdicts into that file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one object, or a list for several.")] = False,
) -> None:
    """Run a paper's defining experiment and print its figure beside ours.

    Every claim writes OUT/NAME/TIER.json, one record a seed beside it, and a picture TIER.svg. The same command goes on
    with seeds that are missing; what the same code measured before is not run again. A claim that fails says FAIL, one
    of several parts with a false one MEASURED; the exit status is 0 unless --against says that it is worse than before.

    lamina reproduce lstm

    lamina reproduce --all --tier full --out docs/claims --keep docs/claims/verdicts.json

    lamina reproduce --due docs/claims --tier ci --against docs/claims/verdicts.json --json
    """
    from lamina import reproduce as claims
    from lamina.core import UserError
    from lamina.core.config import nearest

    if tier not in claims.TIERS:
        raise nearest(tier, claims.TIERS, "tier")
    if every + bool(names) + (due is not None) != 1:
        raise UserError(f"name claims ({', '.join(claims.CLAIMS)}) or give --all or --due, one of them")
    wanted = [claims.find(name) for name in dict.fromkeys(names or [])] or list(claims.CLAIMS.values())
    if due is not None:
        wanted = claims.due(wanted, cast(claims.Tier, tier), due)
        typer.echo(f"due: {', '.join(claim.name for claim in wanted)}", err=True)
    before = {} if against is None else claims.read_verdicts(against)
    found = []
    for claim in wanted:
        with _progress(claim.name, as_json) as tell:
            record = claims.reproduce(claim, tier, out, tell)
        found.append(record)
        if not as_json:
            typer.echo(_said(record, out))
    if keep is not None:
        claims.keep(found, keep)
    if as_json:
        typer.echo(json.dumps(found[0] if names and len(found) == 1 else found, indent=1))
    fallen = claims.fallen(found, before)
    if fallen:
        typer.echo(f"worse than before: {', '.join(fallen)} (verdicts of {against})", err=True)
        raise typer.Exit(1)


def _said(record: dict[str, Any], out: Path) -> str:
    """The claim for people: a line for the verdict, one for each figure, and where the rest is."""
    from lamina.reproduce.claim import digits3

    minutes = record["minutes"]
    seeds = "one seed" if len(record["seeds"]) == 1 else f"{len(record['seeds'])} seeds"
    lines = [
        f"{record['claim']}: {record['verdict']}  ({record['tier']} tier, {seeds}, {minutes:.1f} min)",
        f"  {record['says']}",
        f"  paper: {record['paper']}",
    ]
    for figure in record["figures"]:
        ours = digits3(figure["ours"], figure["unit"])
        if figure["spread"] is not None:
            ours = f"{digits3(figure['ours'])} ± {digits3(figure['spread'])} {figure['unit']}".rstrip()
        facts = [f"paper {figure['paper']}"] if figure["paper"] else []
        if figure["accept"]:
            facts.append(f"accepted if {figure['accept']}: {'yes' if figure['met'] else 'NO'}")
        lines.append(f"  {figure['name']}: {ours}" + (f"  ({'; '.join(facts)})" if facts else ""))
    lines += [f"  {part['name']}: {part['verdict']}" for part in record.get("parts", [])]
    lines.append(f"  {out / record['claim'] / record['tier']}.svg")
    return "\n".join(lines)


@contextmanager
def _progress(name: str, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on a terminal, nothing otherwise."""
    if quiet or not sys.stderr.isatty():
        yield lambda what, done, of: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(name), BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
    with Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task("", total=None)
        current = ""

        def tell(what: str, done: int, of: int) -> None:
            nonlocal current
            if what != current:
                current = what
                bar.reset(task, total=of, description=what)
            bar.update(task, completed=done, total=of)

        yield tell
