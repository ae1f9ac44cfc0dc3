"""Speech: from what a model makes back to sound."""

from lamina.speech.griffin_lim import griffin_lim, heard, spectrum

__all__ = ["griffin_lim", "heard", "spectrum"]
