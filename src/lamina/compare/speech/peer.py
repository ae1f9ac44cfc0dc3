"""pocketsphinx with a grammar of digits, on the same sounds: a recogniser that was never shown them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lamina.data.audio import needs, resampled
from lamina.data.digit_strings import RATE, WORDS
from lamina.speech.score import Score, score

__all__ = ["NAME", "digits", "sphinx"]

NAME = "pocketsphinx"
HEARS = 16000  # Hz, of the model of English that comes with it
MILD = {"wip": 1.0, "pip": 1.0, "silprob": 0.1, "fillprob": 0.01}  # it drops fewer digits so than by its own settings
GRAMMAR = f"#JSGF V1.0; grammar digits; public <digits> = ( {' | '.join(WORDS)} )+ ;"


def sphinx() -> Any:
    """The package; UserError with the line that installs it where it is not there."""
    return needs("pocketsphinx", "the comparison with pocketsphinx", "bench")


def digits(strings: Sequence[tuple[str, Tensor]]) -> Score:
    """Its score on strings of digits: their words, and samples [n] at RATE Hz in about -1..1.

    Its model of English was made for 16 kHz and misses what is above 4 kHz: it hears the same digits better when they
    are recorded so.

    The loudest sample of a string is brought to a half of what 16 bits hold, so that no noise is cut.
    """
    decoder = sphinx().Decoder(samprate=HEARS, lm=None, loglevel="FATAL", **MILD)
    decoder.add_jsgf_string("digits", GRAMMAR)
    decoder.activate_search("digits")
    heard = []
    for _, sound in strings:
        samples = resampled(sound, RATE, HEARS)
        whole = (samples / samples.abs().max() * 2**14).short().numpy().tobytes()
        decoder.start_utt()
        decoder.process_raw(whole, full_utt=True)
        decoder.end_utt()
        heard.append("" if decoder.hyp() is None else decoder.hyp().hypstr)
    return score([words for words, _ in strings], heard)
