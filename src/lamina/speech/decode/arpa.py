"""N-gram language models: ARPA files read into arrays, a node of a tree for each n-gram."""

from __future__ import annotations

import gzip
import math
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamina.core import UserError

__all__ = ["Grams", "NGram"]

LN10 = math.log(10)  # an ARPA file has logarithms to base 10
NEVER = -100 * LN10  # of a word that a model without <unk> does not know, as KenLM has it
Numbered = Iterator[tuple[int, bytes]]


class Grams(NamedTuple):
    """A tree whose node 0 is the empty context; the children of a node are the words known behind it.

    Node i+1 is reached by word[i], int32, sorted among its siblings; the children of node i are the nodes first[i]+1 to
    first[i+1]. Of each node: log_p, ln p(its word | the words above it); backoff, ln; suffix, the node of the longest
    known n-gram that its own ends with. unknown: ln p of a word that is in no node.
    """

    first: np.ndarray
    word: np.ndarray
    log_p: np.ndarray
    backoff: np.ndarray
    suffix: np.ndarray
    unknown: float


@dataclass(frozen=True)
class NGram:
    """A back-off model (Katz 1987; Kneser & Ney 1995): p(w | h) = p(h w) where that is known, else b(h) p(w | h'), with
    h' the context h without its first word.
    """

    order: int
    words: dict[str, int]
    grams: Grams

    @classmethod
    def read(cls, path: str | Path) -> NGram:
        """A model from an ARPA file, also compressed with gzip. UserError with the line where it is none."""
        path = Path(path)
        if not path.is_file():
            raise UserError(f"{path}: no such file; give an n-gram model in the ARPA format")
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        try:
            with gzip.open(path) if packed else path.open("rb") as file:
                words, levels = _read(path, enumerate(file, 1))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{path}: gzip cannot unpack it ({error}); fetch it again") from None
        return cls(len(levels), words, _tree(path, len(words), levels))

    def id_of(self, word: str) -> int:
        """The word's number; that of <unk> for a word that the model does not know, -1 where it has no <unk>."""
        return self.words.get(word, self.words.get("<unk>", self.words.get("<UNK>", -1)))

    @property
    def start(self) -> int:
        """The node of the context at the start of a sentence."""
        return self.words["<s>"] + 1 if "<s>" in self.words else 0

    def log_p(self, words: Sequence[str]) -> list[float]:
        """ln p of each word of a sentence given those before it, and last that of its end."""
        from lamina.speech.decode.fusion_kernels import score

        context, found = self.start, []
        for word in (*words, "</s>"):
            one, context = score(self.grams, context, self.id_of(word))
            found.append(one)
        return found


@dataclass
class _Level:
    """The n-grams of one order as the file has them: words [M,n], logarithms to base 10, and where they stand."""

    words: np.ndarray
    log_p: np.ndarray
    backoff: np.ndarray
    lines: np.ndarray


def _read(path: Path, lines: Numbered) -> tuple[dict[str, int], list[_Level]]:
    counts = _counts(path, lines)
    ids: dict[bytes, int] = {}
    levels = [_level(path, lines, n, count, ids, n == len(counts)) for n, count in enumerate(counts, 1)]
    try:
        return {word.decode(): i for word, i in ids.items()}, levels
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: its words are not UTF-8 ({error}); convert the file") from None


def _counts(path: Path, lines: Numbered) -> list[int]:
    """How many n-grams of each order there are; up to and with the heading of the first ones."""
    counts: list[int] = []
    begun = False
    for number, line in lines:
        text = line.strip()
        if not begun:
            begun = text == b"\\data\\"
        elif text.startswith(b"ngram"):
            n, _, count = text[5:].replace(b" ", b"").partition(b"=")
            if not (n.isdigit() and count.isdigit() and int(n) == len(counts) + 1):
                raise UserError(f"{path}:{number}: {_shown(text)} where 'ngram {len(counts) + 1}=COUNT' should stand")
            counts.append(int(count))
        elif text == b"\\1-grams:" and counts:
            return counts
        elif text:
            raise UserError(f"{path}:{number}: {_shown(text)} where 'ngram N=COUNT' or '\\1-grams:' should stand")
    missing = "1-grams" if begun else "line \\data\\"
    raise UserError(f"{path}: has no {missing}; give an n-gram model in the ARPA format")


def _level(path: Path, lines: Numbered, n: int, count: int, ids: dict[bytes, int], last: bool) -> _Level:
    """The n-grams of one order; up to and with the next heading. Those of order 1 give the words their numbers."""
    words, numbers, where = array("i"), array("d"), array("q")
    ending = b"\\end\\" if last else b"\\%d-grams:" % (n + 1)
    for number, line in lines:
        parts = line.split()
        if not parts:
            continue
        if parts[0].startswith(b"\\") and len(parts) == 1:
            if parts[0] != ending:
                raise UserError(f"{path}:{number}: {_shown(parts[0])} where {_shown(ending)} should stand")
            if len(where) != count:
                raise UserError(f"{path}:{number}: {len(where):,} {n}-grams end here, the head says {count:,}")
            table = np.array(words, np.int32).reshape(-1, n)
            log_p, backoff = np.array(numbers).reshape(-1, 2).T
            return _Level(table, log_p, backoff, np.array(where))
        if not n + 1 <= len(parts) <= n + 2:
            raise UserError(
                f"{path}:{number}: {len(parts)} fields; a {n}-gram has log10 p, {n} words, perhaps a backoff"
            )
        if n == 1:
            if parts[1] in ids:
                raise UserError(f"{path}:{number}: the word {_shown(parts[1])} stands here again; remove one")
            ids[parts[1]] = len(ids)
        try:
            words.extend([ids[word] for word in parts[1 : n + 1]])
            numbers.extend([float(parts[0]), float(parts[n + 1]) if len(parts) == n + 2 else 0.0])
        except KeyError as error:
            raise UserError(f"{path}:{number}: the word {_shown(error.args[0])} is no 1-gram; add it there") from None
        except ValueError:
            raise UserError(f"{path}:{number}: {_shown(line.strip())}: its logarithms are no numbers") from None
        if not (numbers[-2] <= 0 and math.isfinite(numbers[-1])):
            raise UserError(f"{path}:{number}: log10 p {numbers[-2]:g}, backoff {numbers[-1]:g}: p is at most 1")
        where.append(number)
    raise UserError(f"{path}: ends within its {n}-grams, without {_shown(ending)}; fetch it again")


def _shown(text: bytes) -> str:
    return repr(text[:60].decode(errors="replace"))


def _tree(path: Path, n_words: int, levels: list[_Level]) -> Grams:
    """The levels as one tree: each sorted by the node of its context, then by word."""
    keys: list[np.ndarray] = []  # of each level, sorted: context * n_words + word
    offsets = [1]  # the first node of each level

    def find(words: np.ndarray) -> np.ndarray:
        """The nodes of n-grams [M,k], -1 where there is none."""
        node = np.zeros(len(words), np.int64)
        for level in range(words.shape[1]):
            key = node * n_words + words[:, level]
            at = np.searchsorted(keys[level], key)
            hit = (node >= 0) & (at < len(keys[level]))
            hit[hit] = keys[level][at[hit]] == key[hit]
            node = np.where(hit, offsets[level] + at, -1)
        return node

    word, log_p, backoff, suffix = ([np.zeros(1)] for _ in range(4))
    for n, level in enumerate(levels, 1):
        context = find(level.words[:, :-1])
        if (context < 0).any():
            line = level.lines[int(np.argmax(context < 0))]
            raise UserError(f"{path}:{line}: the first {n - 1} words of this {n}-gram are no {n - 1}-gram; add it")
        key = context * n_words + level.words[:, -1]
        order = np.argsort(key, kind="stable")
        key = key[order]
        again = np.flatnonzero(key[1:] == key[:-1])
        if len(again):
            raise UserError(f"{path}:{level.lines[order[again[0] + 1]]}: this {n}-gram stands here again; remove one")
        keys.append(key)
        offsets.append(offsets[-1] + len(key))
        shorter = np.full(len(key), -1, np.int64)
        for k in range(n - 1, -1, -1):
            left = shorter < 0
            shorter[left] = find(level.words[order[left]][:, n - k :])
        for found, values in (
            (word, level.words[order, -1]), (log_p, LN10 * level.log_p[order]), (backoff, LN10 * level.backoff[order]),
            (suffix, shorter),
        ):  # fmt: skip
            found.append(values)
    parents = np.concatenate([key // n_words for key in keys])
    nodes = 1 + len(parents)
    first = np.searchsorted(parents, np.arange(nodes + 1))
    return Grams(
        first.astype(np.int32), np.concatenate(word[1:]).astype(np.int32), np.concatenate(log_p),
        np.concatenate(backoff), np.concatenate(suffix).astype(np.int32), NEVER,
    )  # fmt: skip
