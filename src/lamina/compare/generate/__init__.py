"""Generators compared: what makes the most lifelike images, at the same number of weights and the same time."""

from lamina.compare.generate.engine import compare_generators
from lamina.compare.generate.settings import Settings

__all__ = ["Settings", "compare_generators"]
