"""The genetic algorithm: a population is one tensor [P,G], and every operator takes all of it at once.

found = evolve(onemax, Bits(100), generations=40)
"""

from lamina.train.genetic.breed import Breeder, Genetic
from lamina.train.genetic.crossover import CROSSOVERS
from lamina.train.genetic.evolve import Course, Evolved, evolve
from lamina.train.genetic.fitness import Fitness, Scorer, one_by_one
from lamina.train.genetic.mutation import MUTATIONS
from lamina.train.genetic.problems import PROBLEMS, Problem
from lamina.train.genetic.selection import SELECTIONS
from lamina.train.genetic.space import Around, Bits, Reals, Space

__all__ = [
    "CROSSOVERS", "MUTATIONS", "PROBLEMS", "SELECTIONS", "Around", "Bits", "Breeder", "Course", "Evolved", "Fitness",
    "Genetic", "Problem", "Reals", "Scorer", "Space", "evolve", "one_by_one",
]  # fmt: skip
