"""The genetic algorithm: every candidate is scored, the poor are discarded, the rest have children (Holland 1975)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Generator, Tensor

from lamina.core.config import UserError
from lamina.train import checkpoint
from lamina.train.genetic.breed import Genetic
from lamina.train.genetic.fitness import Fitness, Scorer
from lamina.train.genetic.space import Space

__all__ = ["Course", "Evolved", "evolve", "reseeded"]

SAVES = 10  # checkpoints of a run
FOLD = 256  # generations whose scores are held before they are folded into numbers


@dataclass
class Course:
    """The fitness of each generation, the first population's (generation 0) first: the best, the mean, the standard
    deviation over the population; in the user's own sign.
    """

    best: list[float] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)
    spread: list[float] = field(default_factory=list)

    def add(self, scores: Tensor, minimise: bool) -> None:
        """Generations of scores [N,P], larger better."""
        sign, rows = -1 if minimise else 1, scores.numpy()  # its sums of a row do not hang on how many rows there are
        self.best += (sign * rows.max(1)).tolist()
        self.mean += (sign * rows.mean(1)).tolist()
        self.spread += rows.std(1, ddof=1).tolist()


@dataclass(frozen=True)
class Evolved:
    """What a run found: the best candidate of all generations [G] and its fitness, the last population [P,G], the
    course, how many candidates were scored, and the seconds.
    """

    best: Tensor
    fitness: float
    population: Tensor
    course: Course
    evaluations: int
    seconds: float


@torch.no_grad()
def evolve(
    fitness: Fitness,
    space: Space,
    generations: int = 100,
    settings: Genetic = Genetic(),
    *,
    seed: int = 0,
    minimise: bool = False,
    out: str | Path | None = None,
    on_generation: Callable[[int, Tensor, Tensor], object] | None = None,
) -> Evolved:
    """Evolves candidates of a space; the largest fitness is sought, or with minimise the least.

    fitness takes the whole population [P,G] and gives a score for each, [P]; one of a single candidate is marked with
    `one_by_one`. It should give the same score to the same candidate: elites are not scored again.

    The random numbers of a generation hang on (seed, generation) alone. out: a folder for checkpoints; a run found
    there goes on bit-equal, the run of other settings is a UserError. on_generation(generation, population [P,G],
    scores [P], larger better) is called for every generation, from 0; where it returns True the run ends.

    UserError: a fitness that raises or gives anything but a finite number for each candidate (`Scorer`), operators that
    do not go with the space (`Genetic`).
    """
    if generations < 0:
        raise UserError(f"generations {generations}: give 0 or more")
    began = perf_counter()
    run = _Run(Scorer(fitness, minimise), space, settings, seed, None if out is None else Path(out))
    run.resume()
    while True:
        stop = on_generation is not None and on_generation(run.at, run.population, run.scores) is True
        last = stop or run.at >= generations
        if run.folder is not None and (last or run.at % max(1, generations // SAVES) == 0):
            run.save()
        if last:
            break
        run.step()
    best, seconds = run.best, perf_counter() - began
    evaluations = settings.population + run.at * (settings.population - settings.elites)
    return Evolved(best, -run.most if minimise else run.most, run.population, run.folded(), evaluations, seconds)


def reseeded(generator: Generator, seed: int, generation: int) -> Generator:
    """The generator at the start of a generation's random numbers."""
    return generator.manual_seed((seed * 1_000_003 + generation) * 2 + 1)


class _Run:
    """A run at some generation: its population and scores, the best candidate so far, the course."""

    def __init__(self, scorer: Scorer, space: Space, settings: Genetic, seed: int, folder: Path | None) -> None:
        self.scorer, self.space, self.settings, self.seed, self.folder = scorer, space, settings, seed, folder
        self.breeder, self.generator = settings.breeder(space), Generator()
        self.course, self.held = Course(), []  # type: ignore[var-annotated]
        self.most, self.at = -inf, 0

    def resume(self) -> None:
        """To the newest checkpoint in the folder, or to the first population."""
        found = None if self.folder is None else checkpoint.latest(self.folder)
        if found is None:
            self.population = self.space.start(self.settings.population, reseeded(self.generator, self.seed, 0))
            self._scored(self.scorer(self.population, 0))
            return
        tensors, facts = found
        checkpoint.same_run(self.folder, facts["run"], self._identity())  # type: ignore[arg-type]
        self.population, self.scores, self.best = (tensors[name] for name in ("population", "scores", "best"))
        self.course, self.most, self.at = Course(**facts["course"]), facts["most"], facts["step"]

    def save(self) -> None:
        assert self.folder is not None
        tensors = {"population": self.population, "scores": self.scores, "best": self.best}
        facts = {"run": self._identity(), "course": asdict(self.folded()), "most": self.most}
        checkpoint.write(self.folder, self.at, tensors, facts)

    def step(self) -> None:
        """The next generation."""
        generator = reseeded(self.generator, self.seed, self.at + 1)
        children = self.breeder.children(self.population, self.scores, generator)
        scores = self.scorer(children, self.at + 1)
        if self.settings.elites:
            kept = self.breeder.kept(self.scores)
            children = torch.cat([self.population[kept], children])
            scores = torch.cat([self.scores[kept], scores])
        self.population, self.at = children, self.at + 1
        self._scored(scores)

    def folded(self) -> Course:
        """The course up to here."""
        if self.held:
            self.course.add(torch.stack(self.held), self.scorer.minimise)
            self.held.clear()
        return self.course

    def _scored(self, scores: Tensor) -> None:
        self.scores = scores
        self.held.append(scores)
        if len(self.held) == FOLD:
            self.folded()
        most, place = scores.max(0)
        if (value := float(most)) > self.most:
            self.most, self.best = value, self.population[place]

    def _identity(self) -> dict[str, Any]:
        """What must be equal for a checkpoint to belong to this run."""
        return {"genes": self.space.genes, "seed": self.seed, "minimise": self.scorer.minimise, **asdict(self.settings)}
