"""Speech: sound to text as it is heard, and from what a model makes back to sound."""

from lamina.speech.griffin_lim import griffin_lim, heard, spectrum
from lamina.speech.listeners import Caption, Listeners
from lamina.speech.recogniser import Recogniser
from lamina.speech.telling import Telling, Transcript
from lamina.speech.units import Units

__all__ = ["Caption", "Listeners", "Recogniser", "Telling", "Transcript", "Units", "griffin_lim", "heard", "spectrum"]
