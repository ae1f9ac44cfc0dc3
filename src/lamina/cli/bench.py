"""lamina bench: speed as ratios against peers, within one run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import typer

from lamina.core.config import UserError, nearest

__all__ = ["register"]

KINDS = ("step", "ops", "models", "generate", "growth")


def register(app: typer.Typer) -> None:
    @app.command("bench")
    def bench(
        what: str = typer.Argument("step", help="step, ops, models, generate or growth.", show_default=True),
        peers: bool = typer.Option(
            False, "--peers", help="ops, models, generate: beside other projects' implementations."
        ),
        only: list[str] = typer.Option(
            [], "--only", metavar="NAME", help="ops, models, generate: this row; may be given again."
        ),
        frames: int = typer.Option(1_000_000, min=1024, help="growth: how old the streams get."),
        threads: int | None = typer.Option(None, min=1, help="Threads of PyTorch; default 1 for step, else 2."),
        rounds: int | None = typer.Option(
            None, min=1, help="Timed rounds; default 500 for step, else what time allows."
        ),
        as_json: bool = typer.Option(False, "--json", help="For machines."),
    ) -> None:
        """Speed as ratios within one run: results must be right first, then medians of interleaved calls.

        step: a streamed frame of an LSTM beside PyTorch's own. ops: scan, delta rule, retention, layers and decode
        steps, gated by their definitions in float64, beside the machine's limits. models: its layers and encoders.
        generate: the U-Net of DDPM, forward, with gradients, and a step of drawing one image; the genetic algorithm,
        gated by what it reaches over 20 seeds.
        growth: time and memory as lengths double, and the step as a stream grows old. Exit status 1 if a gate is red;
        no time is given then.

        Examples:

          lamina bench ops                         ours, and its share of the limit

          lamina bench ops --peers                 and the ratio to each peer: 5 min

          lamina bench ops --only retention --peers --threads 1

          lamina bench models --peers --json       layers, decode steps and encoders only

          lamina bench generate --peers            a U-Net beside diffusers', evolution beside deap's

          lamina bench growth --frames 100000      shorter streams

        The peers:  pip install 'lamina[bench]'

                    pip install --no-deps torchscale==0.3.0
        """
        import torch

        if what not in KINDS:
            raise nearest(what, KINDS, "benchmark")
        if what in ("step", "growth") and (peers or only):
            raise UserError(f"bench {what}: --peers and --only are for ops, models and generate")
        torch.set_num_threads(threads or (1 if what == "step" else 2))
        if what == "step":
            _step(rounds or 500, as_json)
        elif what == "growth":
            _growth(frames, as_json)
        elif _rows(what, peers, only, rounds, as_json)["red"]:
            raise typer.Exit(1)


def _step(rounds: int, as_json: bool) -> None:
    from lamina.bench import bench_step

    found = bench_step(rounds=rounds)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    threads = found["env"]["threads"]
    print(found["what"], f"({threads} thread{'s' * (threads > 1)}, torch {found['env']['torch']})")
    for name, t in found["times"].items():
        print(f"  {name:<10} {t['us_p50']:>8.1f} us   ({t['us_p5']:.0f} to {t['us_p95']:.0f})")
    print(f"  {found['ratio_to_LSTMCell']:.2f} x LSTMCell, {found['ratio_to_nn.LSTM']:.2f} x nn.LSTM")


def _rows(what: str, peers: bool, only: list[str], rounds: int | None, as_json: bool) -> dict[str, Any]:
    from lamina.bench import rows as known
    from lamina.bench.genetic_rows import bench_genetic, genetic_lines, genetic_rows
    from lamina.bench.ops import bench_rows

    rows = {"ops": known.all_rows, "models": known.model_rows, "generate": known.generate_rows}[what]()
    contests = genetic_rows() if what == "generate" else ()
    names = {row.name for row in (*rows, *contests)}
    for name in only:
        if name not in names:
            raise nearest(name, names, "row")
    rows, contests = (tuple(r for r in some if not only or r.name in only) for some in (rows, contests))
    if not peers:
        contests = tuple(replace(row, peers={}) for row in contests)
    with _telling() as tell:
        found = bench_rows(rows, peers=peers, rounds=rounds, tell=tell)
        if contests:
            found["genetic"] = bench_genetic(contests, rounds=rounds or 11, tell=tell)
            found["red"] = bool(found["red"] or found["genetic"]["red"])
    if as_json:
        print(json.dumps(found, indent=2))
        return found
    if rows:
        _show(found, peers)
    if contests:
        print("\n".join(genetic_lines(found["genetic"])))
    return found


def _show(found: dict[str, Any], peers: bool) -> None:
    from lamina.bench import table as shown

    for line in shown.gate_lines(found):
        print(line)
    if found["red"]:
        print("no time is given on red")
        return
    print()
    console = _console()
    console.print(shown.table(found, peers, console.width))
    print()
    for line in shown.notes(found):
        print(line)


def _growth(frames: int, as_json: bool) -> None:
    from lamina.bench import table as shown
    from lamina.bench.growth import bench_growth

    with _telling() as tell:
        found = bench_growth(frames, tell=tell)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    _console().print(shown.growth_table(found))
    for op in found["ops"]:
        print(op["summary"])
    print()
    _console().print(shown.stream_table(found))
    for stream in found["streams"]:
        print(stream["summary"])


def _console() -> Any:
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=160)  # a pipe has no edge to wrap at


@contextmanager
def _telling() -> Iterator[Callable[[str], None]]:
    """One line that says what runs now, on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield status.update
