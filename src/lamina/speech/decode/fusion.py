"""Fusion: what a language model and hot words are in a beam search, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from lamina.core import UserError
from lamina.speech.decode.arpa import NEVER, Grams, NGram

if TYPE_CHECKING:
    from lamina.speech.units import Units

__all__ = ["BY_LABEL", "BY_WORD", "NOTHING", "START", "STRANGE", "Fusion", "Tables"]

BY_WORD, BY_LABEL = 2, 3  # what the language model's words are; level 1: there are hot words only, 0: nothing at all
START, STRANGE = 0, -1  # places: no letter of a word yet; letters that begin no known word


class Tables(NamedTuple):
    """All that the kernels know of a fusion.

    A tree of letters leads to the words: node i+1 by letter[i], the children of node i are branch[i]+1 to branch[i+1].
    Of its nodes: spelled, the model's number of the word that ends there or -1; hot_part and hot_whole, the bonus of
    the letters so far and of the word. Of the labels: whether it begins a word; its letters, code[letters[i]:
    letters[i+1]]; its token, the model's number. most: of what one label can add, in nats.
    """

    level: int
    alpha: float
    beta: float
    most: float
    grams: Grams
    strange: int
    ending: int
    token: np.ndarray
    begins: np.ndarray
    letters: np.ndarray
    code: np.ndarray
    branch: np.ndarray
    letter: np.ndarray
    spelled: np.ndarray
    hot_part: np.ndarray
    hot_whole: np.ndarray


_ints, _reals = np.zeros(1, np.int32), np.zeros(1)
NOTHING = Tables(
    0, 0.0, 0.0, 0.0, Grams(_ints, _ints, _reals, _reals, _ints, NEVER), -1, -1, _ints, np.zeros(1, np.bool_), _ints,
    _ints, _ints, _ints, _ints, _reals, _reals,
)  # fmt: skip


@dataclass(frozen=True)
class Fusion:
    """A hypothesis y scores ln p(y | x) + alpha ln p_lm(y) + beta |y| + bonus * (its hot words).

    lm: an n-gram model whose words are the text's words, or, with of="labels", the pieces of the units (a space is
    written as one of SPACES there). A word counts when it ends, with the model's <unk> for one that it does not know;
    at the end of the utterance also the sentence's end. |y| counts what the model counts, words without a model.
    hot: words that are likelier than the network knows. A part of one has its share of the bonus, bonus * letters so
    far / all letters, and loses it where the word goes on otherwise: so the beam does not drop it before it is whole.
    """

    units: Units
    lm: NGram | None = None
    of: Literal["words", "labels"] = "words"
    alpha: float = 0.5
    beta: float = 0.0
    hot: Sequence[str] = ()
    bonus: float = 3.0

    SPACES = ("▁", "|", "<space>")

    def tables(self) -> Tables:
        """UserError where the model or the hot words have nothing in common with the units."""
        if self.alpha < 0 or self.bonus < 0:
            raise UserError(f"alpha {self.alpha:g}, bonus {self.bonus:g}: neither may be below 0")
        if self.of not in ("words", "labels"):
            raise UserError(f"of={self.of!r}: a language model is of words or of labels")
        spellings = [_letters(piece) for piece in self.units.pieces]
        codes = {letter: i for i, letter in enumerate(sorted(set("".join(spellings))))}
        spelled = self._words(codes)
        token = [-1, *(self._token(piece) for piece in self.units.pieces)]
        if self.lm is not None and not (spelled if self.of == "words" else max(token) >= 0):
            what = "word of it can be spelled with" if self.of == "words" else "piece of it is among"
            raise UserError(
                f"the language model does not fit: no {what} the {len(spellings)} units; compare their spelling, "
                f"capitals too, or give of={'labels' if self.of == 'words' else 'words'!r}"
            )
        hot = [_spell(word, codes) for word in self.hot]
        level = 1 if self.lm is None else BY_WORD if self.of == "words" else BY_LABEL
        unknown = -1 if self.lm is None else self.lm.id_of("<unk>")
        return Tables(
            level, self.alpha, self.beta, max(0.0, self.beta) + 2 * self.bonus * bool(hot),
            NOTHING.grams if self.lm is None else self.lm.grams, unknown,
            -1 if self.lm is None else self.lm.id_of("</s>"),
            np.array([unknown if one < 0 else one for one in token], np.int32),
            np.array([False, *(self.units.starts_word(1 + i) for i in range(len(spellings)))]),
            np.cumsum([0, 0, *map(len, spellings)], dtype=np.int32),
            np.array([codes[letter] for spelling in spellings for letter in spelling], np.int32),
            *_tree(spelled, hot, self.bonus),
        )  # fmt: skip

    @property
    def start(self) -> int:
        """The model's context before the first label."""
        return 0 if self.lm is None else self.lm.start

    def _token(self, piece: str) -> int:
        if self.lm is None or self.of == "words":
            return -1
        return next((self.lm.words[name] for name in self._names(piece) if name in self.lm.words), -1)

    def _names(self, piece: str) -> tuple[str, ...]:
        return self.SPACES if piece == " " else (piece,)

    def _words(self, codes: dict[str, int]) -> dict[tuple[int, ...], int]:
        """The model's words that the units can spell, as letters."""
        if self.lm is None or self.of == "labels":
            return {}
        return {
            tuple(codes[letter] for letter in word): i
            for word, i in self.lm.words.items()
            if word not in ("<s>", "</s>", "<unk>", "<UNK>") and all(letter in codes for letter in word)
        }


def _letters(piece: str) -> str:
    """What a piece spells: itself without the sign that a word begins."""
    return piece.lstrip("▁ ")


def _spell(word: str, codes: dict[str, int]) -> tuple[int, ...]:
    """A hot word as letters."""
    missing = next((letter for letter in word if letter not in codes), None)
    if not word or missing is not None:
        why = "a space ends a word" if missing == " " else f"no unit has {missing!r}" if word else "it is empty"
        raise UserError(f"hot word {word!r}: {why}; give single words, spelled as the recogniser spells")
    return tuple(codes[letter] for letter in word)


def _tree(
    words: dict[tuple[int, ...], int], hot: list[tuple[int, ...]], bonus: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """branch, letter, spelled, hot_part and hot_whole of the tree of all words, breadth first."""
    root: dict[int, Any] = {}
    for word in (*words, *hot):
        node = root
        for code in word:
            node = node.setdefault(code, {})
    shortest: dict[tuple[int, ...], int] = {}  # hot word through each of their beginnings
    for word in hot:
        for n in range(1, len(word) + 1):
            shortest[word[:n]] = min(shortest.get(word[:n], len(word)), len(word))
    level: list[tuple[tuple[int, ...], dict[int, Any]]] = [((), root)]
    branch, letter, spelled, part, whole = [], [], [], [], []
    whole_words = set(hot)
    while level:
        below = []
        for way, node in level:
            branch.append(len(letter))
            spelled.append(words.get(way, -1))
            part.append(bonus * len(way) / shortest[way] if way in shortest else 0.0)
            whole.append(bonus if way in whole_words else 0.0)
            for code in sorted(node):
                letter.append(code)
                below.append(((*way, code), node[code]))
        level = below
    branch.append(len(letter))
    return (
        np.array(branch, np.int32), np.array(letter, np.int32), np.array(spelled, np.int32), np.array(part),
        np.array(whole),
    )  # fmt: skip
