"""Contests: as good first, then the time."""

from __future__ import annotations

from lamina.bench.genetic_rows import Contest, bench_genetic, genetic_lines, genetic_rows
from lamina.bench.row import Target


def contest(ours: float, minimise: bool = True) -> Contest:
    peers = {"good": lambda seed: 1.0 + 0.01 * seed, "poor": lambda seed: 5.0 + 0.01 * seed}
    return Contest("toy", "G1", minimise, lambda seed: ours + 0.01 * seed, peers, Target(1, 2))


def test_worse_than_the_best_peer_is_red_and_not_timed() -> None:
    bad = bench_genetic((contest(2.0),), seeds=5, rounds=1)
    assert bad["red"] == ["toy G1: reaches 2.02, good 1.02"]
    assert "times" not in bad["rows"][0]
    fine = bench_genetic((contest(1.01),), seeds=5, rounds=1)
    assert fine["red"] == []
    assert fine["rows"][0]["rivals"] == ["good"]  # the poor peer's time counts for nothing
    assert fine["rows"][0]["peer"] == "good"
    assert any("times as fast as good" in line for line in genetic_lines(fine))
    assert bench_genetic((contest(2.0, minimise=False),), seeds=5, rounds=1)["red"]


def test_the_rows_run() -> None:
    onemax, rastrigin = genetic_rows()
    assert 95 <= onemax.ours(0) <= 100
    assert 0 <= rastrigin.ours(0) < 10
