"""The user's own texts with a label on every word, or a question whose answer stands in the text: one FILE.jsonl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lamina.core.config import UserError
from lamina.data.dataset import NOT_ASKED, DataSet, Split, stratified
from lamina.data.labelled import LENGTH, VOCABULARY, token_rows
from lamina.data.lines import read_text
from lamina.data.vocabulary import Vocabulary

__all__ = ["kind_of", "spans", "tagged"]

MOST = 384  # tokens of a question and its text


def kind_of(path: Path) -> str:
    """What a .jsonl is of, by the keys of its first row: "words", "spans", "sounds" or "texts"."""
    if path.suffix != ".jsonl" or not path.is_file():
        return "texts"
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        first = next(filter(str.strip, lines), "")
    try:
        row = json.loads(first)
    except ValueError:
        row = None
    keys = row.keys() if isinstance(row, dict) else ()
    kinds = {
        "tokens": "words",
        "context": "spans",
        "audio": "sounds",
        "audio_filepath": "sounds",
        "sr": "sounds",
        "duration": "sounds",
    }
    return next((kind for key, kind in kinds.items() if key in keys), "texts")


def tagged(path: str | Path, *, vocabulary: Vocabulary | None = None) -> DataSet:
    """A class a word: rows {"tokens": ["the", "cat"], "labels": ["O", "ANIMAL"]}.

    The first piece of each word is asked (Devlin et al. 2018, arXiv:1810.04805, section 5.3), of the first 128 pieces.
    15 % of the rows become dev, 20 % test, by a fixed seed.
    """
    path = Path(path)
    rows = _rows(path)
    for number, row in enumerate(rows, 1):
        words, labels = row.get("tokens"), row.get("labels")
        if not isinstance(words, list) or not isinstance(labels, list) or len(words) != len(labels) or not words:
            raise UserError(f"{path}: row {number}: tokens and labels must be two lists of one length, an entry a word")
    parts = _parts(len(rows))
    if vocabulary is None:
        vocabulary = Vocabulary.learn(
            [" ".join(map(str, rows[i]["tokens"])) for i in parts["train"].tolist()], VOCABULARY
        )
    classes = sorted({str(label) for row in rows for label in row["labels"]})
    pieces = [vocabulary.pieces(map(str, row["tokens"])) for row in rows]
    x, lengths = token_rows([[n for word in row for n in word] for row in pieces], LENGTH, vocabulary)
    y = torch.full(x.shape, NOT_ASKED)
    for at, (row, words) in enumerate(zip(rows, pieces, strict=True)):
        place = 1  # behind [CLS]
        for label, word in zip(row["labels"], words, strict=True):
            if word and place < int(lengths[at]) - 1:
                y[at, place] = classes.index(str(label))
            place += len(word)
    longest = int(lengths.max())
    whole = Split(x[:, :longest], y[:, :longest], lengths)
    return _dataset(path, "answer", whole, parts, max(2, len(classes)), vocabulary, tuple(classes))


def spans(path: str | Path, *, vocabulary: Vocabulary | None = None) -> DataSet:
    """Where the answer stands: rows {"question": ..., "context": ..., "answer": ...}, and perhaps "start", its place.

    Without start it is the first place of the answer's words. Rows are "[CLS] question [SEP] context [SEP]", cut behind
    384 tokens; questions whose answer is cut off are left out. 15 % become dev, 20 % test, by a fixed seed.
    """
    path = Path(path)
    rows = _rows(path)
    for number, row in enumerate(rows, 1):
        if not all(isinstance(row.get(key), str) and row[key] for key in ("question", "context", "answer")):
            raise UserError(f"{path}: row {number}: question, context and answer must be three texts")
        row["start"] = row.get("start", row["context"].find(row["answer"]))
        if row["context"][max(0, row["start"]) :][: len(row["answer"])] != row["answer"]:
            raise UserError(f"{path}: row {number}: the answer does not stand in its context at {row['start']}")
    parts = _parts(len(rows))
    if vocabulary is None:
        texts = [rows[i][key] for i in parts["train"].tolist() for key in ("question", "context")]
        vocabulary = Vocabulary.learn(texts, VOCABULARY)
    placed = {i: pair for i, row in enumerate(rows) if (pair := _placed(row, vocabulary))}
    at_row = {i: at for at, i in enumerate(placed)}
    parts = {p: torch.tensor([at_row[i] for i in which.tolist() if i in at_row]).long() for p, which in parts.items()}
    found = list(placed.values())
    lengths = torch.tensor([len(tokens) for tokens, _ in found], dtype=torch.int64)
    x = torch.zeros(len(found), int(lengths.max()) if found else 0, dtype=torch.int32)
    for at, (tokens, _) in enumerate(found):
        x[at, : len(tokens)] = torch.tensor(tokens, dtype=torch.int32)
    y = torch.tensor([ends for _, ends in found], dtype=torch.int64).reshape(-1, 2)
    return _dataset(path, "span", Split(x, y, lengths), parts, 2, vocabulary)


def _placed(row: dict[str, Any], vocabulary: Vocabulary) -> tuple[list[int], tuple[int, int]] | None:
    """The tokens, and the places of the answer's first and last; None where it is cut off."""
    question = vocabulary.pieces([row["question"]])[0][: MOST // 4]
    context = vocabulary.tokenizer.encode(row["context"], add_special_tokens=False)
    room = MOST - 3 - len(question)
    last = row["start"] + len(row["answer"])
    inside = [i for i, (a, b) in enumerate(context.offsets) if a < last and b > row["start"]]
    if not inside or inside[-1] >= room:
        return None
    before = len(question) + 2
    return vocabulary.row(question, context.ids[:room]), (before + inside[0], before + inside[-1])


def _dataset(
    path: Path, task: Any, whole: Split, parts: dict[str, Tensor], n: int, words: Vocabulary, labels: Any = ()
) -> DataSet:
    train, dev, test = (whole.part(rows) for rows in parts.values())
    source = f"{path.name}: {len(whole):,} rows, own split by a fixed seed"
    return DataSet(
        path.stem, "tokens", task, train, dev, test, source,
        n_classes=n, n_vocab=len(words), vocabulary=words, labels=labels,
    )  # fmt: skip


def _parts(n: int) -> dict[str, Tensor]:
    return dict(zip(("train", "dev", "test"), stratified(torch.zeros(n, dtype=torch.int64), 0.15, 0.20), strict=True))


def _rows(path: Path) -> list[dict[str, Any]]:
    found = []
    for number, line in enumerate(filter(str.strip, read_text(path, "a .jsonl").splitlines()), 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise UserError(f"{path}: row {number} is no JSON object; give one a line")
        found.append(row)
    return found
