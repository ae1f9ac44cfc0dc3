"""lamina compare: which structure fits the data, under one budget."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lamina.cli._generators import generators
from lamina.cli._recognisers import recognisers
from lamina.cli.train import DATA_HELP

if TYPE_CHECKING:
    from rich.console import Console

    from lamina.compare.studies import Study

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command("compare")(compare)


def compare(
    what: Annotated[list[str] | None, typer.Argument(metavar="DATA", help=DATA_HELP, show_default="digits")] = None,
    params: Annotated[str | None, typer.Option(help="Weights of each structure: 60k, 1.5M. Default 60k.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Time for the whole run; it sets the steps. Default 5.")] = None,
    steps: Annotated[int | None, typer.Option(help="Of each training; recall, copy, induction 1500.")] = None,
    seeds: Annotated[int, typer.Option(help="Trainings at the chosen learning rate.")] = 3,
    names: Annotated[
        str | None, typer.Option("--models", help="Structures, such as lstm,gru,lenet; lstm+conv, mamba-conv.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="More than eight, and the mixers' stacks.")] = False,
    lr: Annotated[
        str | None, typer.Option(help="The learning rates tried for each. Default 1e-3,3e-3,1e-2,3e-2.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples a step: 64; recall, copy, induction 16.")] = None,
    pairs: Annotated[str | None, typer.Option(help="For recall: the numbers of key-value pairs, 4,8,16,32.")] = None,
    out: Annotated[Path | None, typer.Option(help="The folder; default runs/compare-DATA.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Remove an earlier comparison there first.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Compare structures on one data set: the same weights, steps and learning rates for each, several seeds.

    The folder gets report.html, results.json, results.csv. The same command goes on with an interrupted run.

    lamina compare digits

    lamina compare adding --models rnn,lstm,transformer --params 20k --minutes 3

    lamina compare mine.npz --out runs/mine --json

    Three studies of what a state remembers, each structure without the short convolution and with it:

    lamina compare recall --pairs 4,8,16,32            key-value pairs that a state holds

    lamina compare copy                                tokens kept among noise

    lamina compare induction                           trained at 64 frames, tested to 1,024

    lamina compare generate digits      who makes images: GAN, diffusion, a genetic algorithm, a Gaussian

    lamina compare speech digits        who hears: digits in noise; or commands, or speechocean
    """
    from lamina.cli.train import folder_name, number
    from lamina.core.config import UserError

    data, *more = what or ["digits"]
    size = "60k" if params is None else params
    if data == "generate":
        others = (steps, names, everything, lr, batch_size, pairs)
        generators(more, size, minutes, seeds, out, fresh, as_json, others)
        return
    chosen = None if names is None else tuple(name.strip() for name in names.split(",") if name.strip())
    if chosen == ():
        raise UserError(f"--models {names!r}: names no structure; write them like lstm,gru")
    if data == "speech":
        if everything or any(value is not None for value in (params, minutes, lr, batch_size, pairs)):
            raise UserError("compare speech: takes --models, --steps, --seeds, --out, --fresh, --json; no more")
        recognisers(more, chosen, steps, seeds, out, fresh, as_json)
        return
    from lamina.compare.engine import compare as run
    from lamina.compare.plan import Settings

    if more:
        raise UserError(f"{more[0]!r}: one data set at a time; only generate and speech take a second word")
    study, where, words = _asked(data, pairs)
    usual = study or Settings()
    settings = Settings(
        where, number(size, "--params"), Settings.minutes if minutes is None else minutes,
        study.steps if study and steps is None and minutes is None else steps, seeds, chosen or (), everything,
        usual.lr_grid if lr is None else _rates(lr), usual.batch_size if batch_size is None else batch_size, words,
    )  # fmt: skip
    folder = out or Path("runs") / f"compare-{folder_name(words or where)}"
    watch, close = _watcher()
    try:
        results = run(settings, folder, fresh=fresh, watch=watch)
    finally:
        close()
    if as_json:
        print(json.dumps(results, indent=1, allow_nan=False))
    else:
        _summary(results, folder)


def _asked(data: str, pairs: str | None) -> tuple[Study | None, str, str]:
    """The study that a name stands for, if any; the data set; and the study in words, "" for none."""
    from lamina import data as sets
    from lamina.compare.studies import STUDIES, study_of
    from lamina.core.config import UserError, nearest

    if found := study_of(data):
        name, study, options = found
        if pairs is not None and name != "recall":
            raise UserError("--pairs: only recall has key-value pairs; leave it out")
        if pairs is not None:
            options |= sets.named.parse(f"mqar:pairs={pairs.replace(',', '+')}", sets.DATA)[1]
        words = sets.named.spell(name, options, sets.DATA[study.data])
        return study, study.data_name(options), words
    if pairs is not None:
        raise UserError(f"--pairs: only recall has key-value pairs; write lamina compare recall --pairs {pairs}")
    try:
        return None, sets.where(data), ""
    except UserError:
        if data.partition(":")[0] in sets.DATA:
            raise
        raise nearest(data, [*sets.DATA, *STUDIES], "data set") from None


def _rates(text: str) -> tuple[float, ...]:
    from lamina.core.config import UserError

    try:
        return tuple(float(word) for word in text.split(",") if word.strip())
    except ValueError:
        raise UserError(f"--lr {text!r}: not numbers; write them like 1e-3,3e-3,1e-2") from None


def _summary(results: dict[str, Any], folder: Path) -> None:
    """The table, the verdict, and where the report is."""
    from rich.console import Console
    from rich.table import Table

    from lamina.compare.report_rows import order, why
    from lamina.compare.report_text import bytes_text, exact, scale_of, three

    scale = scale_of(results)
    table = Table(box=None, pad_edge=False)
    table.add_column("structure")
    columns = (scale.title, "weights", "training, s", "step p50, ms", "state")
    for title in columns:
        table.add_column(title, justify="right")
    table.add_column("sees the data as")
    for row in order(results["rows"], results["better"]):
        if row["status"] != "done":
            table.add_row(row["model"], *[""] * len(columns), why(row), style="dim")
            continue
        score = scale.show(row["score"], row["score_sd"])
        state = "no stream" if row["state_bytes"] is None else bytes_text(row["state_bytes"])
        values = (score, exact(row["params"]), three(row["train_s"]), three(row["step_ms_p50"]), state)
        table.add_row(row["model"], *values, row["view"], style="bold" if row["model"] == results["best"] else "")
    console = Console() if sys.stdout.isatty() else Console(width=160)  # a pipe has no edge to wrap at
    console.print(table)
    console.print(results["verdict"], highlight=False, markup=False, soft_wrap=not console.is_terminal)
    if results["left_out"]:
        console.print(f"--all adds {', '.join(results['left_out'])}", highlight=False, markup=False)
    console.print(f"report: {folder / 'report.html'}", highlight=False, markup=False, soft_wrap=True)


def _watcher() -> tuple[Any, Any]:
    """A line a training and one for the whole on a terminal; silence otherwise. Also what closes it."""
    from lamina.compare.watch import Watcher

    if not sys.stderr.isatty():
        return Watcher(), lambda: None
    from rich.console import Console

    return _terminal(Console(stderr=True))


def _terminal(console: Console) -> tuple[Any, Any]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from lamina.compare.report_text import scale_of
    from lamina.compare.watch import Watcher

    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False),
        console=console,
        auto_refresh=False,  # no thread of its own: it would disturb the latencies
        transient=True,
    )

    class Terminal(Watcher):
        """A bar for the whole, one for each training that runs, and a line for each that has ended."""

        def __init__(self) -> None:
            self.whole = bars.add_task("starting", total=None, note="", left="")
            self.running: dict[Any, Any] = {}
            self.cost: dict[str, float] = {}
            self.done = self.left = 0.0
            self.ended, self.jobs = 0, 0
            bars.start()

        def stage(self, text: str) -> None:
            self.show(self.whole, description=text, left="")

        def planned(self, plan: Any, metric: Any, jobs_left: int, jobs: int) -> None:
            self.steps, self.scale = plan.steps, scale_of({"metric": metric.name})
            self.cost = {entry.model: entry.step_ms or 1.0 for entry in plan.ready}
            self.jobs, self.ended = jobs, jobs - jobs_left
            total = sum(self.cost.values()) * plan.settings.trials_each
            self.left, self.begun = total * jobs_left / max(1, jobs), monotonic()
            self.show(self.whole, description=f"{jobs} trainings of {plan.steps:,} steps", total=self.left, completed=0)
            for entry in plan.entries:
                if not entry.ready:
                    bars.console.print(f"{entry.model}: {entry.status}: {entry.reason}", markup=False, highlight=False)

        def started(self, job: Any) -> None:
            text = f"{job.model} lr {job.lr:g} seed {job.seed}"
            self.running[job] = bars.add_task(text, total=self.steps, note="", left="")

        def progress(self, job: Any, step: int, dev: float | None) -> None:
            task = bars.tasks[bars.task_ids.index(self.running[job])]
            left = task.elapsed * (self.steps - step) / step if task.elapsed and step else None
            self.show(self.running[job], completed=step, note=self.dev(dev), left=_left(left))
            self.overall()

        def finished(self, job: Any, record: dict[str, Any]) -> None:
            bars.remove_task(self.running.pop(job))
            self.ended += 1
            self.done += self.cost[job.model]
            outcome = (
                self.dev(record["dev_score"]) if record["status"] == "done" else f"diverged at step {record['steps']}"
            )
            words = f"{job.model:<16} lr {job.lr:<6g} seed {job.seed}  {outcome:<14} {record['seconds']:6.1f} s"
            bars.console.print(f"{words}  {self.ended}/{self.jobs}", markup=False, highlight=False)
            self.overall()

        def dev(self, score: float | None) -> str:
            return "" if score is None else f"dev {self.scale.full(score)}"

        def overall(self) -> None:
            part = sum(
                self.cost[job.model] * bars.tasks[bars.task_ids.index(task)].completed / self.steps
                for job, task in self.running.items()
            )
            done = self.done + part
            took = monotonic() - self.begun
            left = took * (self.left - done) / done if done > 0 else None
            self.show(self.whole, completed=done, note=f"{self.ended}/{self.jobs}", left=_left(left))

        def show(self, task: Any, **fields: Any) -> None:
            bars.update(task, **fields)
            bars.refresh()

    return Terminal(), bars.stop


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} left"
