"""The genetic algorithm beside deap: what each reaches over many seeds first, then the time of a whole run."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import fmean, variance
from typing import Any

from lamina.bench.peer import EXTRA
from lamina.bench.peers import deap
from lamina.bench.row import Target
from lamina.bench.timing import interleaved
from lamina.train.genetic import PROBLEMS, Genetic, evolve
from lamina.train.machine import environment

__all__ = ["Contest", "bench_genetic", "genetic_lines", "genetic_rows"]

SEEDS = 20
APART = 2.0  # standard errors of the difference of the means by which ours may be the worse


@dataclass(frozen=True)
class Contest:
    """A row whose results cannot be equal, only as good: ours and the peers' are seed -> the fitness reached."""

    name: str
    shape: str
    minimise: bool
    ours: Callable[[int], float]
    peers: dict[str, Callable[[int], float]]
    target: Target

    @property
    def title(self) -> str:
        return f"{self.name} {self.shape}"


def genetic_rows() -> tuple[Contest, ...]:
    """OneMax with deap's own operators and rates; Rastrigin beside the two usual settings of deap for real numbers."""
    one = Genetic(300, "tournament:size=3", "two_point:share=0.5", "flip:rate=0.05,share=0.2", elites=0)
    blend, sbx = (partial(deap.rastrigin, 10, 100, 100, blend=blend) for blend in (True, False))
    return (
        Contest(
            "onemax", "G100 P300 40 generations", False, partial(_ours, "onemax", 100, 40, one),
            {"deap": partial(deap.onemax, 100, 300, 40)}, Target(10, 20),
        ),
        Contest(
            "rastrigin", "G10 P100 100 generations", True, partial(_ours, "rastrigin", 10, 100, Genetic(100)),
            {"deap blend, gaussian": blend, "deap SBX, polynomial": sbx}, Target(5, 10),
        ),
    )  # fmt: skip


def _ours(problem: str, genes: int, generations: int, settings: Genetic, seed: int) -> float:
    known = PROBLEMS[problem]
    return evolve(known.fitness, known.space(genes), generations, settings, seed=seed, minimise=known.minimise).fitness


def bench_genetic(
    rows: tuple[Contest, ...], *, seeds: int = SEEDS, rounds: int = 11, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """What every row reaches over the seeds first: red where ours is worse than the best peer by more than chance. No
    time is taken then. Microseconds of a whole run, medians of interleaved runs; ratio = the peer's over ours, the peer
    being the quicker of those that are as good as the best of them.
    """
    missing = None if importlib.util.find_spec("deap") else f"deap is not installed; {EXTRA}"
    found = [_gated(row, seeds, missing, tell) for row in rows]
    red = [f"{row.title}: {f['red']}" for row, f in zip(rows, found, strict=True) if f["red"]]
    for row, facts in zip(rows, found, strict=True) if not red else ():
        tell(f"{row.title}: time")
        calls = {"lamina": partial(row.ours, 0)} | {name: partial(row.peers[name], 0) for name in facts["peers"]}
        times = interleaved(calls, rounds, warmup=1)
        rival = min(facts["rivals"], key=lambda name: times[name].median, default=None)
        ratio = times[rival].median / times["lamina"].median if rival else None
        facts |= {
            "times": {name: t.as_dict() for name, t in times.items()}, "peer": rival, "ratio": ratio,
            "must": row.target.must, "aim": row.target.aim, "met": row.target.met(ratio) if ratio else None,
        }  # fmt: skip
    version = None if missing else f"deap {importlib.metadata.version('deap')}"
    return {"red": red, "rows": found, "seeds": seeds, "peer": missing or version, "env": environment()}


def _gated(row: Contest, seeds: int, missing: str | None, tell: Callable[[str], None]) -> dict[str, Any]:
    """What ours and the peers reach, and whether ours is as good."""
    reached = {}
    for name, call in {"lamina": row.ours, **({} if missing else row.peers)}.items():
        tell(f"{row.title}: what {name} reaches")
        reached[name] = [call(seed) for seed in range(seeds)]
    peers = [name for name in reached if name != "lamina"]
    sign = 1 if row.minimise else -1
    best = min(peers, key=lambda name: sign * fmean(reached[name]), default=None)
    worse = [name for name in peers if best and _apart(reached[name], reached[best], sign) > APART]
    red = bool(best) and _apart(reached["lamina"], reached[best or ""], sign) > APART
    return {
        "name": row.name, "shape": row.shape, "reached": reached, "peers": peers,
        "rivals": [name for name in peers if name not in worse],
        "red": f"reaches {fmean(reached['lamina']):.4g}, {best} {fmean(reached[best or '']):.4g}" if red else None,
    }  # fmt: skip


def _apart(one: list[float], other: list[float], sign: int) -> float:
    """By how many standard errors of the difference `one` is the worse; sign 1 where less is better."""
    error = (variance(one) / len(one) + variance(other) / len(other)) ** 0.5
    return sign * (fmean(one) - fmean(other)) / max(error, 1e-12)


def genetic_lines(found: dict[str, Any]) -> Iterator[str]:
    """The result on a terminal."""
    for row in found["rows"]:
        yield f"{'RED ' if row['red'] else ''}{row['name']} {row['shape']}" + (f": {row['red']}" if row["red"] else "")
        for name, values in row["reached"].items():
            time = row.get("times", {}).get(name)
            took = (
                f", {time['us_p50'] / 1e3:.1f} ms ({time['us_p5'] / 1e3:.1f} to {time['us_p95'] / 1e3:.1f})"
                if time
                else ""
            )
            yield f"  {name:<22} reaches {fmean(values):.4g} ({min(values):.4g} to {max(values):.4g}){took}"
        if row.get("ratio"):
            asked = f"asked {row['must']:g}, aimed at {row['aim']:g}"
            yield f"  {row['ratio']:.1f} times as fast as {row['peer']} ({asked})"
    yield f"{found['peer']}, {found['seeds']} seeds, {found['env']['threads']} threads, {found['env']['cpu']}"
