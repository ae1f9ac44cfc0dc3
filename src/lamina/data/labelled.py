"""The user's own texts with labels: one FILE.tsv, .csv or .jsonl."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import torch
from torch import Tensor

from lamina.core.config import UserError
from lamina.data.dataset import DataSet, Split, stratified
from lamina.data.lines import read_text
from lamina.data.vocabulary import Vocabulary

__all__ = ["TABLES", "Labelled", "labelled", "read_table", "read_texts", "split_rows", "text_table", "token_rows"]

TABLES = (".tsv", ".csv", ".jsonl")
TEXT = ("text", "sentence", "content", "message", "review", "title", "description")
LABEL = ("label", "labels", "class", "category", "target", "sentiment", "y")
LENGTH, VOCABULARY = 128, 8000  # tokens of a row at most; pieces of a vocabulary that is learned

Labelled = tuple[list[str], list[str]]
"""Texts and their labels."""


def text_table(path: str | Path, *, vocabulary: Vocabulary | None = None) -> DataSet:
    """Texts with a label each: the columns that a first line names text and label, or the label first or last.

    15 % of the rows of each class become dev, 20 % test, by a fixed seed. Rows are "[CLS] text [SEP]", cut behind 128
    tokens; the vocabulary is learned from the training part where none is given.
    """
    path = Path(path)
    texts, labels, rows = split_rows(path)
    parts = {part: ([texts[i] for i in which], [labels[i] for i in which]) for part, which in rows.items()}
    source = f"{path.name}: {len(texts):,} texts, own split by a fixed seed"
    return labelled(path.stem, parts, source, vocabulary=vocabulary)


def labelled(
    name: str, parts: dict[str, Labelled], source: str, *, vocabulary: Vocabulary | None = None, length: int = LENGTH
) -> DataSet:
    """The data set of texts with labels in three parts."""
    vocabulary = vocabulary or Vocabulary.learn(parts["train"][0], VOCABULARY)
    classes = sorted({label for _, labels in parts.values() for label in labels}, key=_order)
    pieces = {part: vocabulary.pieces(texts) for part, (texts, _) in parts.items()}
    length = min(length, 2 + max(len(piece) for part in pieces.values() for piece in part))
    splits = {}
    for part, (_, labels) in parts.items():
        x, lengths = token_rows(pieces[part], length, vocabulary)
        splits[part] = Split(x, torch.tensor([classes.index(label) for label in labels]), lengths)
    return DataSet(
        name, "tokens", "classify", splits["train"], splits["dev"], splits["test"], source,
        n_classes=max(2, len(classes)), n_vocab=len(vocabulary), vocabulary=vocabulary, labels=tuple(classes),
    )  # fmt: skip


def token_rows(pieces: list[list[int]], length: int, vocabulary: Vocabulary) -> tuple[Tensor, Tensor]:
    """Rows "[CLS] text [SEP]" of at most `length` tokens: [N,length] int32, lengths [N]."""
    x = torch.zeros(len(pieces), length, dtype=torch.int32)
    lengths = torch.zeros(len(pieces), dtype=torch.int64)
    for at, piece in enumerate(pieces):
        row = vocabulary.row(piece[: length - 2])
        x[at, : len(row)], lengths[at] = torch.tensor(row, dtype=torch.int32), len(row)
    return x, lengths


def split_rows(path: Path) -> tuple[list[str], list[str], dict[str, list[int]]]:
    """Texts and labels of a table, and which of its rows are train, dev and test."""
    texts, labels = read_table(path)
    classes = sorted(set(labels), key=_order)
    y = torch.tensor([classes.index(label) for label in labels])
    parts = (rows.tolist() for rows in stratified(y, 0.15, 0.20))
    return texts, labels, dict(zip(("train", "dev", "test"), parts, strict=True))


def read_table(path: Path) -> Labelled:
    """Texts and labels of a file, whatever its columns are called."""
    content = read_text(path, f"a {', '.join(TABLES)} with a text and a label a row")
    found = _objects(path, content) if path.suffix == ".jsonl" else _columns(path, content)
    texts, labels = ([row[i] for row in found] for i in (0, 1))
    for kind, values in (("text", texts), ("label", labels)):
        if "" in values:
            raise UserError(f"{path}: row {values.index('') + 1} has no {kind}; give it one, or remove the row")
    if not found:
        raise UserError(f"{path}: empty; give a text and a label a row")
    return texts, labels


def read_texts(path: Path) -> list[str]:
    """The texts of a table with labels, or of any other file its lines that are not empty."""
    if path.suffix in TABLES:
        return read_table(path)[0]
    texts = [line.strip() for line in read_text(path, "a file with a text a line").splitlines() if line.strip()]
    if not texts:
        raise UserError(f"{path}: empty; give a text a line")
    return texts


def _objects(path: Path, content: str) -> list[tuple[str, str]]:
    found = []
    for number, line in enumerate(filter(str.strip, content.splitlines()), 1):
        try:
            row = json.loads(line)
            found.append((str(row[_named(row, TEXT)]).strip(), str(row[_named(row, LABEL)]).strip()))
        except (ValueError, TypeError, KeyError):
            raise UserError(f'{path}: row {number} is no object like {{"text": "...", "label": "..."}}') from None
    return found


def _columns(path: Path, content: str) -> list[tuple[str, str]]:
    tabs = path.suffix == ".tsv"
    lines = content.splitlines(keepends=True)
    reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(lines)
    try:
        rows = [[cell.strip() for cell in row] for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: {error}; is a quotation mark open?") from None
    if not rows:
        return []
    head = {cell.casefold(): i for i, cell in enumerate(rows[0])}
    if any(word in head for word in TEXT) and any(word in head for word in LABEL):
        text, label = head[_named(head, TEXT)], head[_named(head, LABEL)]
        return [(row[text] if text < len(row) else "", row[label] if label < len(row) else "") for row in rows[1:]]
    width = min(max((i + 1 for i, cell in enumerate(row) if cell), default=0) for row in rows)
    if width < 2:
        short = next(i for i, row in enumerate(rows, 1) if sum(map(bool, row)) < 2)
        raise UserError(f"{path}: row {short} has one column; give it a text and a label, divided by a {_sign(tabs)}")
    kinds = {at: len({row[at] for row in rows}) for at in (0, width - 1)}
    label = min(kinds, key=lambda at: (kinds[at], -at))
    if kinds[label] > max(2, len(rows) // 2):
        raise UserError(f"{path}: neither the first nor the last column is of classes; name them in a first line: "
                        f"text{',' if not tabs else '<tab>'}label")  # fmt: skip
    return [(" ".join(cell for i, cell in enumerate(row) if i != label and cell), row[label]) for row in rows]


def _sign(tabs: bool) -> str:
    return "tab" if tabs else "comma"


def _named(row: dict[str, object], words: tuple[str, ...]) -> str:
    return next((word for word in words if word in row), words[0])


def _order(label: str) -> tuple[int, int, str]:
    """Numbers by their size, words behind them."""
    return (0, int(label), "") if label.lstrip("-").isdecimal() else (1, 0, label)
