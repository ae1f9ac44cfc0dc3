"""Scores of a recogniser over a corpus: word and character errors, of which kind, and how sure they are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.core.config import UserError
from lamina.data.audio import needs
from lamina.speech.normalise import NORMALISERS, normalise

__all__ = ["Errors", "Score", "edits", "score"]

DRAWS = 1000  # of the bootstrap
SURE = (2.5, 97.5)  # percentiles


@dataclass(frozen=True)
class Errors:
    """Edits that make what was heard of the reference, the fewest (Levenshtein 1966), over a corpus.

    rate = (substitutions + insertions + deletions) / reference, a ratio: 0.02 is 2 %, and it may be above 1. reference
    counts words or characters. low, high: of 95 % of the corpora drawn from this one's utterances with replacement
    (Bisani & Ney 2004, 10.1109/ICASSP.2004.1326009).
    """

    rate: float
    low: float
    high: float
    substitutions: int
    insertions: int
    deletions: int
    reference: int


@dataclass(frozen=True)
class Score:
    """Word and character errors of texts that were normalised first, and by what, as "basic/1"."""

    wer: Errors
    cer: Errors
    normaliser: str
    utterances: int


def score(references: Sequence[str], heard: Sequence[str], normaliser: str = "basic", *, seed: int = 0) -> Score:
    """WER and CER of what was heard, utterance by utterance, against the references, by jiwer.

    Characters count with the spaces between words. seed: of the bootstrap; the same seed, the same interval. An
    utterance whose reference is empty counts insertions only. Raises UserError where the two differ in number, or all
    references are empty once they are normalised.
    """
    if len(references) != len(heard):
        raise UserError(f"{len(references)} references and {len(heard)} texts that were heard; give one for each")
    said, told = ([normalise(text, normaliser) for text in texts] for texts in (references, heard))
    words = [(a.split(), b.split()) for a, b in zip(said, told, strict=True)]
    characters = [(list(a), list(b)) for a, b in zip(said, told, strict=True)]
    return Score(_errors(words, seed), _errors(characters, seed), str(NORMALISERS[normaliser]), len(references))


def _errors(pairs: Sequence[tuple[list[str], list[str]]], seed: int) -> Errors:
    kinds = np.array([edits(a, b) for a, b in pairs]).reshape(-1, 3)
    lengths = np.array([len(a) for a, _ in pairs], dtype=np.int64)
    if not lengths.sum():
        raise UserError("the references hold no word once they are normalised; give some text to score by")
    wrong = kinds.sum(1)
    drawn = np.random.default_rng(seed).integers(len(pairs), size=(DRAWS, len(pairs)))
    found, total = wrong[drawn].sum(1), lengths[drawn].sum(1)
    low, high = np.percentile(found[total > 0] / total[total > 0], SURE)
    substitutions, insertions, deletions = (int(n) for n in kinds.sum(0))
    rate = float(wrong.sum() / lengths.sum())
    return Errors(rate, float(low), float(high), substitutions, insertions, deletions, int(lengths.sum()))


def edits(reference: Sequence[Hashable], heard: Sequence[Hashable]) -> tuple[int, int, int]:
    """Substitutions, insertions and deletions between two rows of words, characters or labels, the fewest."""
    if not reference:  # jiwer refuses an empty reference
        return 0, len(heard), 0
    jiwer: Any = needs("jiwer", "counting errors")
    # rows become texts of one character a piece, which jiwer counts fastest and never cuts
    numbers = {piece: chr(0xE000 + i) for i, piece in enumerate(dict.fromkeys([*reference, *heard]))}
    said, told = ("".join(numbers[piece] for piece in row) for row in (reference, heard))
    found = jiwer.process_characters(said, told)
    return found.substitutions, found.insertions, found.deletions
