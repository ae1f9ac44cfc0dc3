"""Recognisers beside each other on fixed recordings: digit strings in noise, single commands, read sentences."""

from lamina.compare.speech.engine import compare_speech
from lamina.compare.speech.studies import STUDIES, Study

__all__ = ["STUDIES", "Study", "compare_speech"]
