"""The genetic algorithm: its operators against theory and against deap, elitism, seeds, bad input."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from deap.tools import crossover, mutation
from scipy import stats
from torch import Generator, Tensor

from lamina.core import UserError
from lamina.train.genetic import Around, Bits, Genetic, Reals, evolve, one_by_one
from lamina.train.genetic.chance import drawn
from lamina.train.genetic.crossover import blended, one_point, sbx, two_point, uniform
from lamina.train.genetic.mutation import flip, gaussian, polynomial, polynomial_step
from lamina.train.genetic.problems import onemax, rastrigin, sphere
from lamina.train.genetic.selection import rank, roulette, tournament

DRAWS = 40_000
UNLIKELY = 1e-4  # a right operator fails at a fixed seed with this chance, once


def dice(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def agrees(chosen: Tensor, chances: Tensor) -> bool:
    """Whether counts of places go with their chances: chi-square; places without a chance are never chosen."""
    counts, possible = torch.bincount(chosen, minlength=len(chances)), chances > 0
    expected = (chances[possible] * len(chosen) / chances.sum()).numpy()
    found = counts[possible].numpy()
    return int(counts[~possible].sum()) == 0 and bool(stats.chisquare(found, expected).pvalue > UNLIKELY)


SCORES = torch.tensor([3.0, 1.0, 4.0, 1.5, 9.0, 2.0], dtype=torch.float64)
ORDER = torch.tensor([3, 0, 4, 1, 5, 2])  # the rank of each, the worst 0


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_tournament_is_won_as_often_as_ranks_say(size: int) -> None:
    P = len(SCORES)
    chances = torch.tensor([((r + 1) ** size - r**size) / P**size for r in ORDER.tolist()], dtype=torch.float64)
    assert agrees(tournament(size)(SCORES, DRAWS, dice()), chances)


def test_equal_scores_win_a_tournament_equally() -> None:
    assert agrees(tournament(3)(torch.ones(5), DRAWS, dice()), torch.ones(5, dtype=torch.float64))


@pytest.mark.parametrize(
    ("scores", "chances"),
    [
        (SCORES, SCORES),
        (SCORES - 2, SCORES - 1),  # the worst, -1, counts as 0
        (torch.tensor([0.0, 2.0, 0.0, 6.0, 0.0]), torch.tensor([0.0, 2.0, 0.0, 6.0, 0.0])),
        (torch.zeros(4), torch.ones(4)),
    ],
)
def test_roulette_is_proportional_to_the_score(scores: Tensor, chances: Tensor) -> None:
    assert agrees(roulette()(scores.double(), DRAWS, dice()), chances.double())


def test_rank_selection_gives_the_best_its_pressure() -> None:
    P, pressure = len(SCORES), 1.7
    chances = (2 - pressure + 2 * (pressure - 1) * ORDER.double() / (P - 1)) / P
    assert float(chances[4] * P) == pytest.approx(1.7)
    assert agrees(rank(pressure)(SCORES, DRAWS, dice()), chances)
    assert agrees(rank(1.0)(SCORES, DRAWS, dice()), torch.ones(P, dtype=torch.float64))


@pytest.mark.parametrize("cross", [one_point(), two_point(), uniform(), uniform(1.0, 0.1)])
@pytest.mark.parametrize("kind", ["bits", "reals"])
def test_crossover_keeps_the_genes_of_each_place(cross: Callable[..., Any], kind: str) -> None:
    a, b = torch.rand(2, 500, 9, generator=dice(), dtype=torch.float64)
    if kind == "bits":
        a, b = a > 0.5, b > 0.5
    before = a.clone(), b.clone()
    c, d = cross(a, b, dice(1))
    assert torch.equal(a, before[0])
    assert torch.equal(b, before[1])
    assert not torch.equal(c, a)
    pairs = (torch.stack(p).double().sort(0).values for p in ((a, b), (c, d)))
    assert torch.equal(*pairs)


def changes(cross: Callable[..., Any], G: int, M: int = 30_000) -> Tensor:
    """Which genes came from the other parent, [M,G] 0 or 1."""
    c, d = cross(torch.zeros(M, G, dtype=torch.bool), torch.ones(M, G, dtype=torch.bool), dice())
    assert torch.equal(c, ~d)
    return c.long()


def test_one_point_cuts_everywhere_alike_and_spares_its_share() -> None:
    G = 5
    swapped = changes(one_point(0.8), G)
    assert bool((swapped.diff(dim=1) >= 0).all())  # one run, at the end
    lengths = swapped.sum(1)  # 1..G-1 with 0.8, 0 with 0.2
    assert agrees(lengths, torch.tensor([0.2, *[0.8 / (G - 1)] * (G - 1)], dtype=torch.float64))


def test_two_point_swaps_one_run_between_two_different_places() -> None:
    G = 5
    swapped = changes(two_point(0.5), G)
    edges = torch.nn.functional.pad(swapped, (1, 1)).diff(dim=1).abs().sum(1)
    assert set(edges.tolist()) == {0, 2}
    starts = torch.where(edges > 0, swapped.argmax(1), 0)
    codes = starts * G + swapped.sum(1)
    chances = torch.zeros(G * G, dtype=torch.float64)
    for low in range(1, G):  # each of the G (G-1) / 2 pairs of places alike
        for high in range(low + 1, G + 1):
            chances[low * G + high - low] = 0.5 / (G * (G - 1) / 2)
    chances[0] = 0.5
    assert agrees(codes, chances)


def test_uniform_swaps_each_gene_on_its_own() -> None:
    swapped = changes(uniform(1.0, 0.3), 4)
    codes = (swapped * torch.tensor([1, 2, 4, 8])).sum(1)
    chances = torch.tensor([0.3 ** bin(i).count("1") * 0.7 ** (4 - bin(i).count("1")) for i in range(16)])
    assert agrees(codes, chances.double())
    spared = (changes(uniform(0.25, 1.0), 4).sum(1) == 0).double().mean()
    assert float(spared) == pytest.approx(0.75, abs=0.01)


def test_sbx_children_by_hand() -> None:
    # eta = 1: u = 1/8 gives beta = (1/4)^(1/2) = 1/2; u = 7/8 gives (1 / (1/4))^(1/2) = 2; u = 1/2 gives 1
    a, b = torch.zeros(3, dtype=torch.float64), torch.full((3,), 8.0, dtype=torch.float64)
    c, d = blended(a, b, torch.tensor([0.125, 0.875, 0.5], dtype=torch.float64), 1.0)
    assert c.tolist() == pytest.approx([2.0, -4.0, 0.0])
    assert d.tolist() == pytest.approx([6.0, 12.0, 8.0])


def test_sbx_children_are_those_of_deap(monkeypatch: pytest.MonkeyPatch) -> None:
    u = torch.rand(40, generator=dice(), dtype=torch.float64)
    a, b = torch.randn(2, 40, generator=dice(1), dtype=torch.float64)
    numbers = iter(u.tolist())
    monkeypatch.setattr(crossover.random, "random", lambda: next(numbers))
    theirs = crossover.cxSimulatedBinary(a.tolist(), b.tolist(), 15.0)
    for child, expected in zip(blended(a, b, u, 15.0), theirs, strict=True):
        torch.testing.assert_close(child, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_sbx_spares_pairs_and_genes_and_keeps_the_mean() -> None:
    a, b = torch.rand(2, 20_000, 3, generator=dice(), dtype=torch.float64)
    c, d = sbx(0.6, 2.0, 0.5)(a, b, dice(1))
    torch.testing.assert_close(c + d, a + b)
    same = (c == a) & (d == b)
    assert float(same.double().mean()) == pytest.approx(0.7, abs=0.01)  # 0.4 + 0.6 / 2
    assert float(same.all(1).double().mean()) == pytest.approx(0.4 + 0.6 / 8, abs=0.01)
    far = ((c - a).abs() > (c - b).abs())[~same]  # near the other parent as often as not
    assert float(far.double().mean()) == pytest.approx(0.5, abs=0.02)


def test_polynomial_steps_are_those_of_deap_far_from_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert polynomial_step(torch.tensor([0.125, 0.5, 0.875]), 1.0).tolist() == pytest.approx([-0.5, 0.0, 0.5])
    u = torch.rand(40, generator=dice(), dtype=torch.float64)
    numbers = iter(x for pair in zip([0.0] * 40, u.tolist(), strict=True) for x in pair)
    monkeypatch.setattr(mutation.random, "random", lambda: next(numbers))
    # with eta = 60 the bound, half the range away, changes the step by less than 2^-61
    (theirs,) = mutation.mutPolynomialBounded([0.0] * 40, 60.0, -1.0, 1.0, 1.0)
    ours = 2 * polynomial_step(u, 60.0)
    torch.testing.assert_close(ours, torch.tensor(theirs, dtype=torch.float64), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rate", [0.001, 0.05, 0.5, 0.97])
def test_places_are_drawn_each_on_its_own(rate: float) -> None:
    n, rounds = 50, 4000
    hits = torch.zeros(rounds, n)
    generator = dice()
    for row in hits:
        at = drawn(n, rate, generator)
        assert bool((at.diff() > 0).all())
        row[at] = 1
    assert stats.binomtest(int(hits.sum()), n * rounds, rate).pvalue > UNLIKELY
    assert float(hits.sum(1).var()) == pytest.approx(n * rate * (1 - rate), rel=0.15)
    assert float((hits[:, 1:] * hits[:, :-1]).mean()) == pytest.approx(rate**2, abs=4 * rate / math.sqrt(n * rounds))
    assert float(hits[:, :5].mean()) == pytest.approx(rate, abs=5 * math.sqrt(rate / 20_000))
    assert drawn(n, 0.0, generator).numel() == 0
    assert drawn(n, 1.0, generator).tolist() == list(range(n))


def test_flips_in_a_share_of_the_children() -> None:
    bits = torch.zeros(20_000, 20, dtype=torch.bool)
    flip(0.1, 0.3)(bits, torch.tensor(1.0), dice())
    touched = bits.any(1).double().mean()
    assert float(touched) == pytest.approx(0.3 * (1 - 0.9**20), abs=0.012)
    assert float(bits.double().mean()) == pytest.approx(0.03, abs=0.001)
    flip(1.0)(bits, torch.tensor(1.0), dice())
    assert float(bits.double().mean()) == pytest.approx(0.97, abs=0.001)


def test_one_gene_of_each_mutates_by_default() -> None:
    bits = torch.zeros(20_000, 25, dtype=torch.bool)
    flip()(bits, torch.tensor(1.0), dice())
    assert float(bits.double().sum(1).mean()) == pytest.approx(1.0, abs=0.03)


def test_gaussian_steps_are_normal_by_the_scale() -> None:
    x, scale = torch.zeros(20_000, 2, dtype=torch.float64), torch.tensor([1.0, 10.0], dtype=torch.float64)
    gaussian(0.5, 1.0)(x, scale, dice())
    for column, wide in zip(x.T, (0.5, 5.0), strict=True):
        assert stats.kstest((column / wide).numpy(), "norm").pvalue > UNLIKELY


def test_what_leaves_the_bounds_stops_there() -> None:
    space = Reals(3, torch.tensor([0.0, -1.0, 5.0]), 6.0)
    start = space.start(2000, dice())
    assert torch.equal(start.clamp(space.low, space.high), start)
    assert float(start[:, 2].min()) < 5.01
    gone = space.keep(start + torch.tensor([100.0, -100.0, 0.0]))
    assert gone[0].tolist() == pytest.approx([6.0, -1.0, float(start[0, 2])])


def test_around_starts_with_the_centre() -> None:
    centre = torch.tensor([1.0, -2.0])
    start = Around(centre, torch.tensor([0.1, 3.0])).start(5000, dice())
    assert torch.equal(start[0], centre)
    assert start.std(0).tolist() == pytest.approx([0.1, 3.0], rel=0.05)


def test_polynomial_is_bounded_by_the_range() -> None:
    x = torch.zeros(5000, 2, dtype=torch.float64)
    polynomial(5.0, 1.0)(x, torch.tensor(4.0, dtype=torch.float64), dice())
    assert 1.0 < float(x.abs().max()) <= 4.0
    assert float((x / 4).abs().mean()) == pytest.approx(1 - 6 / 7, rel=0.03)  # E 1 - r^(1/6), r uniform


@pytest.mark.parametrize("elites", [1, 3])
def test_elites_never_lose_the_best(elites: int) -> None:
    settings = Genetic(20, "roulette", "uniform", "flip:rate=0.2", elites)
    found = evolve(onemax, Bits(60), 60, settings, seed=3)
    assert found.course.best == sorted(found.course.best)
    assert found.fitness == found.course.best[-1] == float(onemax(found.population).max())
    assert found.evaluations == 20 + 60 * (20 - elites)


def test_without_elites_the_best_of_all_generations_is_told() -> None:
    found = evolve(onemax, Bits(60), 60, Genetic(20, "roulette", "uniform", "flip:rate=0.2", 0), seed=3)
    assert found.course.best != sorted(found.course.best)
    assert found.fitness == max(found.course.best) == float(found.best.sum())


def test_it_solves_what_it_should() -> None:
    assert evolve(onemax, Bits(100), 60, seed=1).fitness == 100
    least = evolve(sphere, Reals(5, -5.0, 5.0), 100, seed=1, minimise=True)
    assert least.fitness < 1e-3
    assert least.fitness == pytest.approx(float(least.best.square().sum()))
    assert evolve(rastrigin, Reals(5, -5.12, 5.12), 150, seed=1, minimise=True).fitness < 1.0


def test_the_course_tells_each_generation() -> None:
    seen: list[Tensor] = []
    found = evolve(
        sphere,
        Reals(3, -1.0, 1.0),
        7,
        minimise=True,
        on_generation=lambda at, population, scores: seen.append(population),
    )
    assert len(seen) == len(found.course.best) == 8
    scores = torch.stack(seen).square().sum(2)
    assert found.course.best == pytest.approx(scores.amin(1).tolist())
    assert found.course.mean == pytest.approx(scores.mean(1).tolist())
    assert found.course.spread == pytest.approx(scores.std(1).tolist())
    assert len(evolve(sphere, Reals(3, -1.0, 1.0), 7, on_generation=lambda at, *_: at == 2).course.best) == 3


def test_the_seed_decides_everything() -> None:
    one, two, other = (evolve(rastrigin, Reals(4, -5.0, 5.0), 12, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(one.population, two.population)
    assert one.course == two.course
    assert not torch.equal(one.population, other.population)


def test_a_run_goes_on_bit_equal(tmp_path: Any) -> None:
    space = Reals(4, -5.0, 5.0)
    whole = evolve(rastrigin, space, 20, seed=2, minimise=True)
    evolve(rastrigin, space, 20, seed=2, minimise=True, out=tmp_path, on_generation=lambda at, *_: at == 9)
    told: list[int] = []
    again = evolve(
        rastrigin, space, 20, seed=2, minimise=True, out=tmp_path, on_generation=lambda at, *_: told.append(at)
    )
    assert told[0] == 9
    assert torch.equal(again.population, whole.population)
    assert torch.equal(again.best, whole.best)
    assert again.course == whole.course
    with pytest.raises(UserError, match=r"holds another run \(seed 2, here 3\)"):
        evolve(rastrigin, space, 20, seed=3, minimise=True, out=tmp_path)


def test_one_by_one_is_the_same_search() -> None:
    whole = evolve(onemax, Bits(20), 5, seed=1)
    assert torch.equal(evolve(one_by_one(lambda bits: int(bits.sum())), Bits(20), 5, seed=1).best, whole.best)
    listed = evolve(lambda population: [float(bits.sum()) for bits in population], Bits(20), 5, seed=1)
    assert torch.equal(listed.best, whole.best)


def raising(population: Tensor) -> Tensor:
    if bool((population[:, 0] & population[:, 1]).any()):
        raise ZeroDivisionError("two ones")
    return population.sum(1)


def late_nan(calls: list[int]) -> Callable[[Tensor], Tensor]:
    def fitness(population: Tensor) -> Tensor:
        calls.append(1)
        scores = population.sum(1).double()
        if len(calls) == 3:
            scores[4] = float("nan")
        return scores

    return fitness


@pytest.mark.parametrize(
    ("fitness", "said"),
    [
        (raising, r"generation 0, candidate \d+: the fitness raises ZeroDivisionError: two ones"),
        (one_by_one(lambda bits: 1 / 0), "generation 0, candidate 0: the fitness raises ZeroDivisionError"),
        (late_nan([]), "generation 2, candidate 4: the fitness is nan; give a finite number"),
        (lambda p: p.sum(1) / 0, r"generation 0, candidate \d+: the fitness is inf"),
        (
            lambda p: p.sum(),
            r"generation 0: the fitness gives shape \[\] for a population of shape \[100, 8\].*one_by_one",
        ),
        (lambda p: p[:, :2].double(), r"gives shape \[100, 2\] .*not \[100\]"),
        (lambda p: "good", "generation 0: the fitness gives str, not a number for each candidate"),
        (lambda p: None, "generation 0: the fitness gives NoneType"),
        (lambda p: torch.zeros(100, dtype=torch.complex64), "gives complex numbers"),
    ],
)
def test_a_bad_fitness_is_told_plainly(fitness: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        evolve(fitness, Bits(8), 5, Genetic(elites=0))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Reals(3, 5.0, -5.0), "bounds 5 and -5: the first must be below"),
        (lambda: Reals(2, [0.0, 1.0], [1.0, 1.0]), "bounds 1 and 1 of gene 1"),
        (lambda: Reals(3, [0.0, 1.0], 2.0), r"bounds of shape \[2\] for 3 genes"),
        (lambda: Reals(1, -math.inf, 0.0), "both finite"),
        (lambda: Bits(0), "0 genes"),
        (lambda: Genetic(population=1), "population 1: at least two"),
        (lambda: Genetic(population=5, elites=5), "elites 5 of a population of 5"),
        (lambda: Genetic(selection="turnament").breeder(Bits(3)), "unknown selection 'turnament'; did you mean 'tourn"),
        (lambda: Genetic(crossover="twopoint").breeder(Bits(3)), "did you mean 'two_point'"),
        (lambda: Genetic(mutation="gausian").breeder(Reals(3, 0.0, 1.0)), "did you mean 'gaussian'"),
        (lambda: Genetic(mutation="flip").breeder(Reals(3, 0.0, 1.0)), "mutation flip: is not for real numbers"),
        (lambda: Genetic(crossover="sbx:eta=3").breeder(Bits(3)), "crossover sbx: is not for bits; take one of one_p"),
        (lambda: Genetic(crossover="uniform:swop=0.1").breeder(Bits(3)), "unknown option 'swop'; did you mean 'swap'"),
        (lambda: Genetic(mutation="flip:rate=often").breeder(Bits(3)), "rate='often' must be a number"),
        (lambda: Genetic(mutation="flip:rate=1.5").breeder(Bits(3)), "rate=1.5 must lie between 0 and 1"),
        (lambda: Genetic(selection="tournament:size=0").breeder(Bits(3)), "size=0 must be at least 1"),
        (lambda: Genetic(selection="rank:pressure=3").breeder(Bits(3)), "pressure=3 must lie between 1 and 2"),
        (lambda: evolve(onemax, Bits(3), -1), "generations -1"),
    ],
)
def test_bad_settings_are_told_plainly(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make()


def test_rastrigin_is_the_sum_of_its_waves() -> None:
    x = 5.12 * (2 * torch.rand(50, 4, generator=dice(), dtype=torch.float64) - 1)
    waves = 10 * 4 + (x**2 - 10 * torch.cos(2 * math.pi * x)).sum(1)
    torch.testing.assert_close(rastrigin(x), waves)
    assert float(rastrigin(torch.zeros(1, 4))) == 0
