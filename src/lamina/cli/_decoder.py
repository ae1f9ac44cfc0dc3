"""The decoder that --beam, --lm and --hot ask for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lamina.speech import Recogniser
    from lamina.speech.decode import Decoder

__all__ = ["BEAM", "HOT", "LM", "decoder_of"]

BEAM = "Hypotheses of a beam search, decided within 1 s; default the best path, or 32 with --lm or --hot."
LM = "A language model of words, in ARPA's format."
HOT = "Words that are likelier than the recogniser knows, comma-separated."
WIDE = 32
WAIT = 1.0  # seconds at most until a word is settled


def decoder_of(recogniser: Recogniser, beam: int | None, lm: Path | None, hot: str | None) -> Decoder:
    """Best path where nothing is asked for."""
    from lamina.core import UserError
    from lamina.speech.decode import BestPath, Fusion, NGram, PrefixBeam

    words = tuple(word.strip() for word in (hot or "").split(",") if word.strip())
    if beam is None and lm is None and not words:
        return BestPath()
    if beam is not None and beam < 1:
        raise UserError(f"--beam {beam}: it must be at least 1")
    fusion = Fusion(recogniser.units, NGram.read(lm) if lm else None, hot=words) if lm or words else None
    wait = max(1, round(WAIT / recogniser.seconds))
    return PrefixBeam(1 + len(recogniser.units.pieces), beam or WIDE, fusion=fusion, wait=wait)
