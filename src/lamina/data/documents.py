"""Text to pretrain on: sentences in order, in pairs of which half belong together, with hidden words."""

from __future__ import annotations

import re
import sysconfig
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from lamina.core.config import UserError
from lamina.data.dataset import NOT_ASKED, DataSet, Split
from lamina.data.hide import ask
from lamina.data.labelled import TABLES, split_rows
from lamina.data.text import library_files, part_of
from lamina.data.vocabulary import Vocabulary

__all__ = ["Document", "masked", "mlm", "mlm_file", "paragraphs"]

Document = list[str]
"""Sentences or paragraphs, each of which follows the one before it."""

LENGTH, VOCABULARY = 128, 8000
MOST = {"dev": 512, "test": 1024}  # rows that are scored, evenly spread over the part
LEAST = 20  # rows to train on
DOCSTRING = re.compile(r'^[ \t]*[rR]?"""(.*?)"""', re.DOTALL | re.MULTILINE)


def mlm(length: int = LENGTH, words: int = VOCABULARY, *, vocabulary: Vocabulary | None = None) -> DataSet:
    """The English of Python's own library: what its docstrings say, some 1.4 MB; whole files are held out.

    length: tokens of a row. words: of the vocabulary that is learned from the training part, where none is given.
    """
    parts: dict[str, list[Document]] = {"train": [], "dev": [], "test": []}
    for name, document in _docstrings().items():
        parts[part_of(name)].append(document)
    version = sysconfig.get_python_version()
    source = f"the docstrings of Python {version}'s library, {len(_docstrings())} files; whole files held out"
    return masked("mlm", parts, source, length=length, words=words, vocabulary=vocabulary)


def mlm_file(
    path: str | Path, length: int = LENGTH, words: int = VOCABULARY, *, vocabulary: Vocabulary | None = None
) -> DataSet:
    """One's own text. Of a .txt, a sentence or a paragraph a line, an empty line between what does not belong
    together, the last tenth is held out, half of it dev and half test. Of a table with labels its texts, each alone,
    in the same parts as for its classes.
    """
    path = Path(path)
    parts: dict[str, list[Document]]
    if path.suffix in TABLES:
        texts, _, rows = split_rows(path)
        parts = {part: [[texts[i]] for i in which] for part, which in rows.items()}
        return masked(path.stem, parts, f"{path.name}: its texts", length=length, words=words, vocabulary=vocabulary)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a .txt with a sentence or a paragraph a line")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    ends = [0, len(lines) * 18 // 20, len(lines) * 19 // 20, len(lines)]
    parts = {part: paragraphs(lines[a:b]) for part, a, b in zip(("train", "dev", "test"), ends, ends[1:], strict=False)}
    source = f"{path.name}: {len(lines):,} lines; the last tenth held out"
    return masked(path.stem, parts, source, length=length, words=words, vocabulary=vocabulary)


def paragraphs(lines: list[str]) -> list[Document]:
    """Lines as documents, which empty lines divide."""
    found: list[Document] = [[]]
    for line in lines:
        if line.strip():
            found[-1].append(line.strip())
        elif found[-1]:
            found.append([])
    return [document for document in found if document]


def masked(
    name: str,
    parts: dict[str, list[Document]],
    source: str,
    *,
    length: int = LENGTH,
    words: int = VOCABULARY,
    vocabulary: Vocabulary | None = None,
) -> DataSet:
    """The data set of documents in three parts: rows "[CLS] a [SEP] b [SEP]" or "[CLS] a [SEP]" of at most `length`.

    The words that are hidden, and which pairs do not belong together, are drawn with a fixed seed; in training others
    are hidden at every step.
    """
    if length < 8 or words < 64:
        raise UserError(f"{name}: length={length}, words={words}; they must be at least 8 and 64")
    for part, documents in parts.items():
        if not documents:
            raise UserError(f"{name}: {part}: no text; give more lines")
    vocabulary = vocabulary or Vocabulary.learn([text for document in parts["train"] for text in document], words)
    splits = {
        part: _split(documents, vocabulary, length, 2 * i, MOST.get(part))
        for i, (part, documents) in enumerate(parts.items())
    }
    if len(splits["train"]) < LEAST:
        raise UserError(f"{name}: {len(splits['train'])} rows of {length} tokens; at least {LEAST} are needed")
    return DataSet(
        name, "tokens", "mlm", splits["train"], splits["dev"], splits["test"], source,
        n_classes=len(vocabulary), n_vocab=len(vocabulary), vocabulary=vocabulary,
    )  # fmt: skip


def _split(documents: list[Document], vocabulary: Vocabulary, length: int, seed: int, most: int | None) -> Split:
    generator = torch.Generator().manual_seed(seed)
    tokens, lengths, follows = _rows(documents, vocabulary, length, generator)
    if most is not None and len(tokens) > most:
        kept = torch.arange(most) * len(tokens) // most
        tokens, lengths, follows = tokens[kept], lengths[kept], follows[kept]
    return ask(tokens, lengths, follows, vocabulary, generator)


def _rows(
    documents: list[Document], vocabulary: Vocabulary, length: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """tokens [N,length], lengths [N], follows [N]: each span with the next one of its document, or with any other.

    A span with none behind it stands alone.
    """
    paired = [_spans(vocabulary.pieces(document), (length - 3) // 2) for document in documents if len(document) > 1]
    alone = [_spans(vocabulary.pieces(document), length - 2) for document in documents if len(document) == 1]
    every = [span for spans in paired for span in spans]
    rows: list[list[int]] = []
    follows: list[int] = []
    for spans in paired:
        for first, second in zip(spans, [*spans[1:], None], strict=True):
            other = int(torch.randint(2, (), generator=generator))
            drawn = every[int(torch.randint(len(every), (), generator=generator))]
            asked = second is not None
            rows.append(vocabulary.row(first, drawn if asked and other else second))
            follows.append(other if asked else NOT_ASKED)
    for span in (span for spans in alone for span in spans):
        rows.append(vocabulary.row(span))
        follows.append(NOT_ASKED)
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    tokens = torch.zeros(len(rows), length, dtype=torch.int32)
    for at, row in enumerate(rows):
        tokens[at, : len(row)] = torch.tensor(row, dtype=torch.int32)
    return tokens, lengths, torch.tensor(follows, dtype=torch.int32)


def _spans(sentences: list[list[int]], most: int) -> list[list[int]]:
    """Whole sentences one behind the other up to `most` tokens; a longer one is cut."""
    spans: list[list[int]] = []
    for sentence in sentences:
        for at in range(0, len(sentence), most):
            piece = sentence[at : at + most]
            if spans and len(spans[-1]) + len(piece) <= most:
                spans[-1] += piece
            else:
                spans.append(list(piece))
    return spans


@lru_cache(maxsize=1)
def _docstrings() -> dict[str, Document]:
    """The paragraphs of every file's docstrings, each in one line, by the file's name."""
    root = Path(sysconfig.get_path("stdlib"))
    found = {}
    for name in library_files():
        strings = DOCSTRING.findall((root / name).read_text(encoding="utf-8", errors="replace"))
        texts = [" ".join(part.split()) for string in strings for part in re.split(r"\n\s*\n", string)]
        if document := [text for text in texts if text]:
            found[name] = document
    if not found:
        raise UserError(f"mlm: {root} holds no sources of the library; give mlm:FILE.txt, a text of your own")
    return found
