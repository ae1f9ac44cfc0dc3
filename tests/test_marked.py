"""Labels of words, and answers that stand in a text: how they are read, scored, learned and fine-tuned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from lamina import data, models
from lamina.core import UserError
from lamina.data import NOT_ASKED
from lamina.models import find
from lamina.tasks import Span, make
from lamina.train import evaluate, fit
from text_parts import NOUNS, VERBS, vocabulary

KEYS = {"d_model": 32, "n_layers": 2, "n_heads": 2}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tags() -> list[dict[str, Any]]:
    """Animals that see, and animals that are seen: which it is only the place tells."""
    return [{"tokens": ["the", a, v, "the", b, "."], "labels": ["O", "WHO", "O", "O", "WHOM", "O"]}
            for a in NOUNS for v in VERBS for b in NOUNS if a != b]  # fmt: skip


def questions() -> list[dict[str, Any]]:
    return [{"question": f"who {v} the {b} ?", "context": f"now the {a} {v} the {b} .", "answer": f"the {a}"}
            for a in NOUNS for v in VERBS for b in NOUNS if a != b]  # fmt: skip


def learned(dataset: data.DataSet, steps: int) -> float:
    torch.manual_seed(0)
    task = make(dataset, find("bert"), models.create("bert", **KEYS))
    fit(task, dataset, steps=steps, lr=5e-3, seed=0, batch_size=16)
    return evaluate(task, dataset.test)


def test_the_first_piece_of_each_word_is_asked(tmp_path: Path) -> None:
    words = vocabulary()
    rows = [{"tokens": ["the", "foxhen", "sees"], "labels": ["O", "B", "O"]}] * 20
    dataset = data.load(str(write(tmp_path / "a.jsonl", rows)), words)
    n = [len(piece) for piece in words.pieces(["the", "foxhen", "sees"])]
    assert n[1] > 1
    assert dataset.labels == ("B", "O")
    want = [NOT_ASKED, 1, 0, *[NOT_ASKED] * (n[1] - 1), 1, NOT_ASKED]
    assert dataset.train.y[0].tolist() == want
    assert dataset.train.lengths[0] == 2 + sum(n)


def test_the_answer_is_found_in_the_tokens(tmp_path: Path) -> None:
    rows = [{"question": "who ?", "context": "the cat and the cat .", "answer": "the cat", "start": 12},
            {"question": "who ?", "context": "the cat and the cat .", "answer": "the cat"}] * 20  # fmt: skip
    dataset = data.load(str(write(tmp_path / "a.jsonl", rows)), vocabulary(200))
    words = dataset.vocabulary
    found = set()
    for row, (a, b) in zip(dataset.train.x.tolist(), dataset.train.y.tolist(), strict=True):
        assert words.tokenizer.decode(row[a : b + 1]) == "the cat"
        found.add((a, b))
    assert len(found) == 2  # the first of both, where no place is given
    long = [{"question": "who ?", "context": "the cat . " * 200 + "a hen", "answer": "a hen"}] * 20
    with pytest.raises(UserError, match="empty; give it at least one example"):
        data.load(str(write(tmp_path / "b.jsonl", long)), vocabulary())


def test_spans_by_hand() -> None:
    """Frames beyond the length have no say, an end before its beginning is no answer."""
    torch.manual_seed(0)
    span = Span.__new__(Span)
    batch = {"x": torch.zeros(2, 4), "y": torch.tensor([[1, 2], [0, 1]]), "lengths": torch.tensor([4, 2])}
    prediction = torch.tensor([[0.0, 5], [3, 0], [0, 4], [0, 0], [1, 2], [2, 0], [9, 9], [9, 9]])
    loss, count = span.criterion(prediction, batch)
    begin, end = prediction.view(2, 4, 2)[0].T
    first = -float(begin.log_softmax(0)[1] + end.log_softmax(0)[2])
    second = -float(torch.tensor([1.0, 2]).log_softmax(0)[0] + torch.tensor([2.0, 0]).log_softmax(0)[1])
    assert float(count) == 4
    assert float(loss) == pytest.approx(first + second, rel=1e-5)
    right, n = span.each(prediction, batch)  # row 0: 1..2 sums to 7, 0..0 to 5; row 1: 0..0 to 3
    assert right.tolist() == [1, 0]
    assert n.tolist() == [1, 1]


@pytest.mark.interop
@torch.no_grad()
def test_the_loss_of_spans_is_that_of_transformers(tmp_path: Path) -> None:
    dataset = data.load(str(write(tmp_path / "a.jsonl", questions())), vocabulary(200))
    words = dataset.vocabulary
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128,
        max_position_embeddings=512, hidden_dropout_prob=0.0, sep_token_id=words.separator,
    )  # fmt: skip
    peer = transformers.BertForQuestionAnswering(config).eval()
    peer.save_pretrained(tmp_path / "theirs")
    words.save(tmp_path / "theirs")
    from lamina.train import Start

    task = make(dataset, find("bert"), models.create("bert", **KEYS)).eval()
    Start.read(tmp_path / "theirs").put(task)
    task.head.load_state_dict(peer.qa_outputs.state_dict())
    batch = dataset.dev.rows(slice(0, 9))
    x, mask = batch["x"].long(), torch.arange(batch["x"].shape[1]) < batch["lengths"][:, None]
    ends = ((x == words.separator) & mask).long()
    theirs = peer(x, attention_mask=mask.long(), token_type_ids=(ends.cumsum(1) - ends).clamp(max=1))
    each = [logits.masked_fill(~mask, float("-inf")).log_softmax(1)[torch.arange(9), batch["y"][:, i]] for i, logits
            in enumerate((theirs.start_logits, theirs.end_logits))]  # fmt: skip
    loss, count = task.loss(batch)
    assert float(loss / count) == pytest.approx(-float(sum(e.mean() for e in each)) / 2, rel=1e-4)


def test_both_are_learned(tmp_path: Path) -> None:
    assert learned(data.load(str(write(tmp_path / "a.jsonl", tags()))), 60) > 0.95
    assert learned(data.load(str(write(tmp_path / "b.jsonl", questions()))), 120) > 0.8


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["a"], "labels": []}, "row 1: tokens and labels must be two lists of one length, an entry a word"),
        ({"context": "a b", "question": "?"}, "row 1: question, context and answer must be three texts"),
        ({"context": "a b", "question": "?", "answer": "c"}, "row 1: the answer does not stand in its context at -1"),
        (["a"], "row 1 is no object like"),
    ],
)
def test_what_is_no_row(row: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        data.load(str(write(tmp_path / "a.jsonl", [row] * 30)))


def test_a_file_in_another_code_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"tokens": ["größe"], "labels": ["O"]}\n'.encode("latin-1"))
    with pytest.raises(UserError, match=r"a\.jsonl: is not UTF-8 .*; save it as UTF-8"):
        data.load(str(path))
