"""The structures by name, one file a paper (1986 to now): create, save, load, and the rows that `lamina list` shows."""

from lamina.models.checked import check_layers
from lamina.models.io import create, find, load, save
from lamina.models.model import Knob, Model
from lamina.models.registry import MIXER_ROWS, MODELS

__all__ = ["MIXER_ROWS", "MODELS", "Knob", "Model", "check_layers", "create", "find", "load", "save"]
