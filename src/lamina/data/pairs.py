"""Pairs of texts, a source and its translation: one's own FILE.tsv, and Multi30k."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lamina.core.config import UserError
from lamina.data.dataset import NOT_ASKED, DataSet, Split
from lamina.data.lines import read_text
from lamina.data.shared import shared
from lamina.data.vocabulary import Vocabulary

__all__ = ["LONGEST", "Pair", "multi30k", "pairs", "pairs_file", "read_pairs", "source_rows"]

Pair = tuple[str, str]
WORDS = 4000  # of the vocabulary that both sides share
LONGEST = 128  # tokens of a side; what is longer is left out of training and cut elsewhere
SEED = 0  # of the pairs that are held out


def multi30k(words: int = WORDS, *, vocabulary: Vocabulary | None = None) -> DataSet:
    """Captions of photographs in English and German (Elliott et al. 2016, arXiv:1605.00459), to be told in German.

    Reads $LAMINA_DATA/multi30k/{train,val}.{en,de}.gz, a sentence a line. The published validation part of 1,014 is the
    test part here; 1,000 of the 29,000 pairs to learn from, drawn once, are the dev part. words: of the vocabulary of
    pairs of bytes that is learned from both sides, where none is given.
    """
    sides = {}
    for part in ("train", "val"):
        lines = [_lines(shared("multi30k", f"multi30k/{part}.{language}.gz")) for language in ("en", "de")]
        if len(lines[0]) != len(lines[1]):
            raise UserError(
                f"multi30k: {part} has {len(lines[0])} English lines and {len(lines[1])} German; get it again"
            )
        sides[part] = list(zip(*lines, strict=True))
    order = torch.randperm(len(sides["train"]), generator=torch.Generator().manual_seed(SEED)).tolist()
    held = set(order[:1000])
    parts = {
        "train": [pair for i, pair in enumerate(sides["train"]) if i not in held],
        "dev": [sides["train"][i] for i in sorted(held)],
        "test": sides["val"],
    }
    source = "Multi30k, English to German: dev drawn from its training part, test its validation part"
    return pairs("multi30k", parts, source, words=words, vocabulary=vocabulary)


def pairs_file(path: str | Path, words: int = WORDS, *, vocabulary: Vocabulary | None = None) -> DataSet:
    """One's own pairs: a source, a tab and its target a line. The last tenth is held out, half dev and half test."""
    path = Path(path)
    found = read_pairs(path)
    dev, test = len(found) * 18 // 20, len(found) * 19 // 20
    parts = {"train": found[:dev], "dev": found[dev:test], "test": found[test:]}
    if len(found) < 20:
        raise UserError(f"{path}: {len(found)} pairs; at least 20 are needed, of which two are held out")
    source = f"{path.name}: {len(found):,} pairs; the last tenth held out"
    return pairs(path.stem, parts, source, words=words, vocabulary=vocabulary)


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a file, line by line."""
    lines = read_text(path, "a .tsv with a source, a tab and a target a line").splitlines()
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != 2 or not all(cells):
            raise UserError(
                f"{path}: line {number} holds {sum(map(bool, cells))} texts; give a source, a tab, a target"
            )
        found.append((cells[0], cells[1]))
    return found


def pairs(
    name: str,
    parts: dict[str, Sequence[Pair]],
    source: str,
    *,
    words: int = WORDS,
    vocabulary: Vocabulary | None = None,
    probes: dict[int, Sequence[Pair]] | None = None,
) -> DataSet:
    """The data set of pairs in three parts. x: "source [SEP]"; y: "[CLS] target [SEP]", NOT_ASKED behind it."""
    if words < 300:
        raise UserError(f"{name}: words={words}; it must be at least 300, for every byte is one")
    known = vocabulary or Vocabulary.learn_bytes((text for pair in parts["train"] for text in pair), words)
    splits = {part: _split(some, known, train=part == "train") for part, some in parts.items()}
    widths = [max(s.x.shape[1] for s in splits.values()), max(s.y.shape[1] for s in splits.values())]
    train, dev, test = (_wider(splits[part], *widths) for part in ("train", "dev", "test"))
    n = len(known)
    return DataSet(
        name, "pairs", "translate", train, dev, test, source, n_classes=n, n_vocab=n, vocabulary=known,
        probes={number: _split(some, known) for number, some in (probes or {}).items()}, probe="words",
    )  # fmt: skip


def source_rows(pieces: Sequence[list[int]], end: int, longest: int = LONGEST) -> tuple[Tensor, Tensor]:
    """Tokens of sources with their ends: [N,S] int32, lengths [N]."""
    rows = [[*piece[: longest - 1], end] for piece in pieces]
    return _padded(rows, 0), torch.tensor([len(row) for row in rows])


def _split(some: Sequence[Pair], vocabulary: Vocabulary, train: bool = False) -> Split:
    """train: pairs that are too long are left out."""
    pieces = zip(*(vocabulary.pieces([pair[side] for pair in some]) for side in (0, 1)), strict=True)
    kept = [pair for pair in pieces if not train or max(map(len, pair)) <= LONGEST - 2]
    x = [[*a[: LONGEST - 1], vocabulary.separator] for a, _ in kept]
    y = [[vocabulary.start, *b[: LONGEST - 2], vocabulary.separator] for _, b in kept]
    return Split(_padded(x, 0), _padded(y, NOT_ASKED), torch.tensor([len(row) for row in x]))


def _padded(rows: list[list[int]], empty: int) -> Tensor:
    tensors = [torch.tensor(row, dtype=torch.int32) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=empty)


def _wider(split: Split, x: int, y: int) -> Split:
    """The same with rows of those widths."""
    pad = torch.nn.functional.pad
    more = x - split.x.shape[1], y - split.y.shape[1]
    return Split(pad(split.x, (0, more[0])), pad(split.y, (0, more[1]), value=NOT_ASKED), split.lengths)


def _lines(path: Path) -> list[str]:
    try:
        return gzip.decompress(path.read_bytes()).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"multi30k: {path} cannot be read ({error}); get it again") from None
