"""lamina evolve: a genetic algorithm on a known problem, or on a function of one's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from torch import Tensor

    from lamina.train.genetic import Evolved, Problem, Space

__all__ = ["register"]

SHOWN = 400  # characters of a candidate


def register(app: typer.Typer) -> None:
    app.command("evolve")(evolve)


def evolve(
    fitness: Annotated[str, typer.Argument(help="onemax, sphere, rastrigin, or file.py:function of your own.")],
    genes: Annotated[int | None, typer.Option(help="Numbers of a candidate; default the problem's, else 32.")] = None,
    bounds: Annotated[
        str | None, typer.Option(metavar="LOW,HIGH", help="Real genes between these; without it genes are bits.")
    ] = None,
    population: Annotated[int, typer.Option(help="Candidates of a generation.")] = 100,
    generations: Annotated[int, typer.Option(help="Generations after the first population.")] = 100,
    selection: Annotated[str, typer.Option(help="tournament, roulette or rank; tournament:size=3.")] = "tournament",
    crossover: Annotated[
        str | None,
        typer.Option(help="one_point, two_point, uniform, for reals sbx; two_point:share=0.9 of the pairs."),
    ] = None,
    mutation: Annotated[
        str | None,
        typer.Option(help="For bits flip, for reals polynomial or gaussian; flip:rate=0.01 is the chance of a gene."),
    ] = None,
    elites: Annotated[int, typer.Option(help="The best so many go on unchanged.")] = 1,
    seed: Annotated[int, typer.Option(help="The first population and all chances.")] = 0,
    minimise: Annotated[bool, typer.Option("--minimise", help="Your function: the least is sought.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the result there, as --json prints it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the best candidate and the course as JSON.")] = False,
) -> None:
    """Search by a population: every candidate is scored, the poor are discarded, the rest have children.

    lamina evolve onemax

    lamina evolve rastrigin --genes 20 --generations 300 --crossover uniform --mutation gaussian:sigma=0.1

    lamina evolve onemax --selection roulette --crossover one_point:share=0.6 --mutation flip:rate=0.001 --elites 0

    A function of your own takes the whole population, a torch tensor, and gives a number for each candidate:

    def score(bits): return bits[:, :8].sum(1) - bits[:, 8:].sum(1)        (in mine.py; bits is [population, genes])

    lamina evolve mine.py:score --genes 40 --out best.json

    or one candidate, marked by @one_by_one (from lamina.train.genetic import one_by_one):

    lamina evolve mine.py:cost --genes 5 --bounds=-1,1 --minimise
    """
    from lamina.train.genetic import Genetic
    from lamina.train.genetic import evolve as run

    problem = _problem(fitness, minimise)
    space = _space(fitness, problem, genes, bounds)
    settings = Genetic(population, selection, crossover, mutation, elites)
    with _progress(generations, problem.minimise, as_json) as on_generation:
        found = run(
            problem.fitness, space, generations, settings, seed=seed, minimise=problem.minimise,
            on_generation=on_generation,
        )  # fmt: skip
    result = {
        "fitness": fitness, "minimise": problem.minimise, "genes": space.genes, "seed": seed,
        "generations": generations,
        **asdict(settings), "best": found.fitness, "candidate": _plain(found.best),
        "evaluations": found.evaluations, "seconds": round(found.seconds, 3), "course": asdict(found.course),
    }  # fmt: skip
    if out is not None:
        from lamina.train.checkpoint import write_json

        write_json(out, result)
    typer.echo(json.dumps(result) if as_json else _said(fitness, found, problem.minimise, out))


def _problem(text: str, minimise: bool) -> Problem:
    """The known problem of that name, or the user's function as one."""
    from lamina.cli._target import load
    from lamina.core.config import UserError, nearest
    from lamina.train.genetic import PROBLEMS, Bits, Problem

    where, colon, name = text.rpartition(":")
    if not colon:
        if text.endswith(".py"):
            raise UserError(f"{text}: which function? write {text}:score")
        if text not in PROBLEMS:
            raise nearest(text, PROBLEMS, "problem")
        if minimise and not PROBLEMS[text].minimise:
            raise UserError(f"{text}: its largest fitness is sought; --minimise is for a function of your own")
        return PROBLEMS[text]
    module = load(where, "score")
    if not callable(found := getattr(module, name, None)):
        own = [key for key, value in vars(module).items() if not key.startswith("_") and callable(value)]
        raise UserError(f"{where}: {nearest(name, own, 'function')}" if own else f"{where}: has no function {name!r}")
    return Problem(found, Bits, 32, minimise)


def _space(fitness: str, problem: Problem, genes: int | None, bounds: str | None) -> Space:
    """What candidates are made of: the problem's own space, or with bounds real numbers."""
    from lamina.core.config import UserError
    from lamina.train.genetic import PROBLEMS, Bits, Reals

    n = problem.genes if genes is None else genes
    if bounds is None:
        return problem.space(n)
    if fitness in PROBLEMS and problem.space is Bits:
        raise UserError(f"--bounds: {fitness} is of bits; leave it out")
    try:
        low, high = (float(word) for word in bounds.split(","))
    except ValueError:
        raise UserError(f"--bounds {bounds!r}: not two numbers; write it like --bounds=-5,5") from None
    return Reals(n, low, high)


def _plain(candidate: Tensor) -> list[float]:
    """The genes as numbers, bits as 0 and 1."""
    return candidate.tolist() if candidate.is_floating_point() else candidate.int().tolist()


def _said(fitness: str, found: Evolved, minimise: bool, out: Path | None) -> str:
    """The result for people: the fitness, when it was reached, and the candidate."""
    course, best, genes = found.course.best, found.fitness, _plain(found.best)
    at = next(i for i, value in enumerate(course) if value == best)
    shown = " ".join(f"{g:.4g}" for g in genes) if found.best.is_floating_point() else "".join(map(str, genes))
    lines = [
        f"{fitness}: {'least' if minimise else 'best'} fitness {best:.6g} in generation {at} of {len(course) - 1} "
        f"({course[0]:.4g} in the first population); {found.evaluations:,} candidates scored in {found.seconds:.2f} s",
        f"candidate: {shown[:SHOWN]}{' ...' if len(shown) > SHOWN else ''}",
    ]
    return "\n".join(lines + ([f"written to {out}"] if out else []))


@contextmanager
def _progress(generations: int, minimise: bool, quiet: bool) -> Iterator[Callable[[int, Any, Any], None] | None]:
    """A bar with the best so far on a terminal, nothing otherwise."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("generation"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task, sign = bar.add_task("", total=generations), -1 if minimise else 1

        def tell(at: int, population: Any, scores: Any) -> None:
            said = f"best {sign * float(scores.max()):.5g}, mean {sign * float(scores.mean()):.5g}"
            bar.update(task, completed=at, description=said)

        yield tell
