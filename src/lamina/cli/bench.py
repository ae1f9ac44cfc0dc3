"""lamina bench: speed as ratios against peers, within one run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from lamina.core.config import UserError, nearest

__all__ = ["register"]

KINDS = ("step", "ops", "models", "generate", "decode", "growth", "serve")


def register(app: typer.Typer) -> None:
    @app.command("bench")
    def bench(
        what: str = typer.Argument("step", help=f"{', '.join(KINDS)}.", show_default=True),
        peers: bool = typer.Option(
            False, "--peers", help="Beside other projects' implementations; step: a chunk of 40 ms too."
        ),
        only: list[str] = typer.Option(
            [], "--only", metavar="NAME", help="All but step, growth and serve: this row; may be given again."
        ),
        frames: int = typer.Option(1_000_000, min=1024, help="growth: how old the streams get."),
        threads: int | None = typer.Option(
            None, min=1, help="Threads of PyTorch; default 1 for step without peers, else 2."
        ),
        rounds: int | None = typer.Option(
            None, min=1, help="Timed rounds; default 500 for step (2000 of 40 ms), else what time allows."
        ),
        run: Path | None = typer.Option(None, help="serve: a run on transcribed speech that streams."),
        clients: int = typer.Option(100, min=1, help="serve: listeners at once."),
        seconds: float = typer.Option(300.0, min=1.0, help="serve: of sound that each sends, at real-time pace."),
        killed: int = typer.Option(0, min=0, help="serve: of the clients, on the way."),
        misbehave: int = typer.Option(0, min=0, help="serve: of the clients, on the way."),
        as_json: bool = typer.Option(False, "--json", help="For machines."),
    ) -> None:
        """Speed as ratios within one run: results must be right first, then medians of interleaved calls.

        step: a streamed frame of an LSTM beside PyTorch's own; with --peers also 40 ms of a stream through
        attention_lstm, conformer, lstm and mamba, captured and not, beside torchaudio's Emformer, at equal weights.
        ops: scan, delta rule, retention, layers and decode steps, gated by their definitions in float64, beside the
        machine's limits. models: its layers and encoders.
        generate: the U-Net of DDPM, forward, with gradients, and a step of drawing one image; the genetic algorithm,
        gated by what it reaches over 20 seeds. decode: prefix beam search of CTC, peaky and flat frames, gated by how
        probable the labels are that it finds.
        growth: time and memory as lengths double, and the step as a stream grows old. serve: real WebSocket clients of
        `lamina serve`, on this machine; each must hear what its sound gives offline. Exit status 1 if a gate is red
        (of step 2); no time is given then.

        Examples:

          lamina bench step --peers                2,000 steps each: 3 min

          lamina bench ops                         ours, and its share of the limit

          lamina bench ops --peers                 and the ratio to each peer: 5 min

          lamina bench ops --only retention --peers --threads 1

          lamina bench models --peers --json       layers, decode steps and encoders only

          lamina bench generate --peers            a U-Net beside diffusers', evolution beside deap's

          lamina bench decode --peers              beam search beside flashlight-text's and pyctcdecode's

          lamina bench growth --frames 100000      shorter streams

          lamina bench serve --run RUN --clients 100 --seconds 300 --killed 30 --misbehave 10

        The peers:  pip install 'lamina[bench]'

                    pip install --no-deps torchscale==0.3.0 pyctcdecode==0.5.0 pygtrie==2.6.2
        """
        import torch

        if what not in KINDS:
            raise nearest(what, KINDS, "benchmark")
        if only and what in ("step", "growth", "serve"):
            raise UserError(f"bench {what}: --only is for ops, models, generate and decode")
        if peers and what in ("growth", "serve"):
            raise UserError(f"bench {what}: it has no peers")
        torch.set_num_threads(threads or (1 if what == "step" and not peers else 2))
        if what == "step":
            _step(rounds, peers, as_json)
        elif what == "growth":
            _growth(frames, as_json)
        elif what == "decode":
            if _decode(peers, only, rounds or 11, as_json)["red"]:
                raise typer.Exit(1)
        elif what == "serve":
            _serve(run, as_json, clients=clients, seconds=seconds, killed=killed, misbehave=misbehave)
        elif _rows(what, peers, only, rounds, as_json)["red"]:
            raise typer.Exit(1)


def _step(rounds: int | None, peers: bool, as_json: bool) -> None:
    from lamina.bench import bench_chunk, bench_step
    from lamina.bench.chunk import chunk_lines

    found = bench_step(rounds=rounds or 500)
    if peers:
        with _telling() as tell:
            tell("40 ms of a stream through four structures and an Emformer")
            found["chunk"] = bench_chunk(rounds or 2000)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    threads = found["env"]["threads"]
    print(found["what"], f"({threads} thread{'s' * (threads > 1)}, torch {found['env']['torch']})")
    for name, t in found["times"].items():
        print(f"  {name:<10} {t['us_p50']:>8.1f} us   ({t['us_p5']:.0f} to {t['us_p95']:.0f})")
    print(f"  {found['ratio_to_LSTMCell']:.2f} x LSTMCell, {found['ratio_to_nn.LSTM']:.2f} x nn.LSTM")
    if peers:
        print("\n".join(chunk_lines(found["chunk"])))


def _decode(peers: bool, only: list[str], rounds: int, as_json: bool) -> dict[str, Any]:
    from lamina.bench.decode_rows import DECODE_ROWS, bench_decode, decode_lines

    names = {row.name for row in DECODE_ROWS}
    for name in only:
        if name not in names:
            raise nearest(name, names, "row")
    rows = tuple(row for row in DECODE_ROWS if not only or row.name in only)
    with _telling() as tell:
        found = bench_decode(rows, peers=peers, rounds=rounds, tell=tell)
    print(json.dumps(found, indent=2) if as_json else "\n".join(decode_lines(found)))
    return found


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


def _serve(run: Path | None, as_json: bool, **load: Any) -> None:
    from lamina.bench.serve import bench_serve

    if run is None:
        raise UserError("bench serve: give --run, the folder of a run on transcribed speech")
    with _telling() as tell:
        found = bench_serve(run, tell=tell, **load)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print(f"{found['what']}; {found['model']}, {found['params']:,} weights")
        said, free = f"{found['characters']:,} characters", "free" if found["free"] else "not free"
        print(f"  {found['equal']} of {found['stay']} that stay heard their offline text, {said}")
        refused = f"{found['refused']} of {load['misbehave']} that misbehave were refused"
        print(f"  {refused}, {found['lost']} of all were lost")
        print(f"  in the end: health {found['health']}, rows {free}")
        line = "  {:<26} p50 {p50:.1f}  p95 {p95:.1f}  p99 {p99:.1f}  max {max:.1f} ms"
        times = {
            "caption_ms": "chunk to caption",
            "compute_ms": "of it in the server",
            "client_late_ms": "clients late",
        }
        for key, text in times.items():
            if found[key] and not found["red"]:
                print(line.format(text, **found[key]))
    if found["red"]:
        raise typer.Exit(1)


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
