"""From frames of log-probabilities to labels, words and ends of speech; every state is a value."""

from lamina.speech.decode.align import align
from lamina.speech.decode.arpa import NGram
from lamina.speech.decode.beam import PrefixBeam
from lamina.speech.decode.best_path import BestPath
from lamina.speech.decode.decoder import Decoder, DecoderState, Label
from lamina.speech.decode.fusion import Fusion
from lamina.speech.decode.words import Word, words

__all__ = [
    "BestPath", "Decoder", "DecoderState", "Fusion", "Label", "NGram", "PrefixBeam", "Word",
    "align", "words",
]  # fmt: skip
