"""deap's simple evolutionary algorithm (`eaSimple`), set up as its documentation does."""

from __future__ import annotations

import random
from typing import Any

__all__ = ["onemax", "rastrigin"]

LOW, HIGH = -5.12, 5.12


def onemax(genes: int, population: int, generations: int, seed: int) -> float:
    """The most ones: selTournament 3, cxTwoPoint in half of the pairs, mutFlipBit 0.05 in a fifth of the children."""
    from deap import tools

    kit = _toolbox(lambda: random.randint(0, 1), genes, 1.0)
    kit.register("evaluate", lambda bits: (sum(bits),))
    kit.register("mate", tools.cxTwoPoint)
    kit.register("mutate", tools.mutFlipBit, indpb=0.05)
    return _best(kit, population, generations, 0.5, 0.2, seed)


def rastrigin(genes: int, population: int, generations: int, seed: int, blend: bool) -> float:
    """The least value; blend: cxBlend and mutGaussian, else bounded SBX and polynomial mutation, eta 20 for both.

    SBX in 0.9 of the pairs and one mutated gene of each child on average; blend in half, mutation in a fifth.
    """
    from deap import benchmarks, tools

    kit = _toolbox(lambda: random.uniform(LOW, HIGH), genes, -1.0)
    kit.register("evaluate", benchmarks.rastrigin)
    if blend:
        kit.register("mate", tools.cxBlend, alpha=0.5)
        kit.register("mutate", tools.mutGaussian, mu=0, sigma=1, indpb=0.1)
        return _best(kit, population, generations, 0.5, 0.2, seed)
    bounds = {"low": LOW, "up": HIGH, "eta": 20.0}
    kit.register("mate", tools.cxSimulatedBinaryBounded, **bounds)
    kit.register("mutate", tools.mutPolynomialBounded, indpb=1 / genes, **bounds)
    return _best(kit, population, generations, 0.9, 1.0, seed)


def _toolbox(gene: Any, genes: int, weight: float) -> Any:
    """What makes a population; deap makes the classes of individuals by name, once a process."""
    from deap import base, creator, tools

    name = "Most" if weight > 0 else "Least"
    if not hasattr(creator, name):
        creator.create(f"{name}Fitness", base.Fitness, weights=(weight,))
        creator.create(name, list, fitness=getattr(creator, f"{name}Fitness"))
    kit = base.Toolbox()
    kit.register("individual", tools.initRepeat, getattr(creator, name), gene, genes)
    kit.register("population", tools.initRepeat, list, kit.individual)
    kit.register("select", tools.selTournament, tournsize=3)
    return kit


def _best(kit: Any, population: int, generations: int, crossed: float, mutated: float, seed: int) -> float:
    from deap import algorithms, tools

    random.seed(seed)
    best = tools.HallOfFame(1)
    algorithms.eaSimple(
        kit.population(n=population), kit, crossed, mutated, generations, halloffame=best, verbose=False
    )
    return float(best[0].fitness.values[0])
