"""Pretraining: which words are hidden and how, the pairs, the loss by hand and by transformers, runs that go on."""

from __future__ import annotations

from math import exp, log, sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.nn import functional as F

from lamina import data, models
from lamina.core import UserError
from lamina.data import NOT_ASKED
from lamina.data.batch import Hidden
from lamina.data.documents import masked, mlm, mlm_file, paragraphs
from lamina.data.hide import ask, hide, shown
from lamina.data.vocabulary import Vocabulary
from lamina.models import find
from lamina.tasks import MaskedLM, make
from lamina.tasks.mlm import Told
from lamina.train import Order, Start, evaluate_run, fit, load_run, train_run
from text_parts import reviews, story, vocabulary

KEYS = {"d_model": 16, "n_layers": 2, "n_heads": 2, "capacity": 64}


def close(share: float, p: float, n: int) -> bool:
    """Within four standard deviations of a binomial share."""
    return abs(share - p) < 4 * sqrt(p * (1 - p) / n)


def rows(words: Vocabulary, n: int, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs of random words, of lengths from 8 to frames."""
    generator = torch.Generator().manual_seed(3)
    tokens = words.ordinary[torch.randint(len(words.ordinary), (n, frames), generator=generator)]
    lengths = torch.randint(8, frames + 1, (n,), generator=generator)
    tokens[:, 0] = words.row([])[0]
    tokens[:, 4] = words.separator
    tokens[torch.arange(n), lengths - 1] = words.separator
    return tokens, lengths


def test_how_many_words_are_hidden_and_how() -> None:
    words = vocabulary()
    tokens, lengths = rows(words, 2000, 128)
    x, y = hide(tokens, lengths, words, torch.Generator().manual_seed(1))
    real = torch.arange(128) < lengths[:, None]
    special = torch.isin(tokens, words.special)
    chosen = y != NOT_ASKED
    assert not (chosen & (special | ~real)).any()
    assert torch.equal(y[chosen], tokens[chosen])
    assert torch.equal(x[~chosen], tokens[~chosen])
    long = lengths >= 100  # where no row is without a chosen word, which is then given one
    n = int((real & ~special)[long].sum())
    assert close(int(chosen[long].sum()) / n, 0.15, n)
    n, ordinary = int(chosen.sum()), len(words.ordinary)
    masked_, kept = (x == words.mask)[chosen], (x == tokens)[chosen]
    assert close(float(masked_.float().mean()), 0.8, n)
    assert close(float(kept.float().mean()), 0.1 + 0.1 / ordinary, n)  # a drawn word may be the same one
    drawn = x[chosen & (x != words.mask) & (x != tokens)]
    assert close(len(drawn) / n, 0.1 * (1 - 1 / ordinary), n)
    assert not torch.isin(drawn, words.special).any()
    assert len(drawn.unique()) == ordinary


def test_a_row_of_few_words_is_asked_for_one() -> None:
    words = vocabulary()
    tokens = torch.tensor([words.row(words.pieces(["the cat"])[0])] * 200)
    _, y = hide(tokens, None, words, torch.Generator().manual_seed(0))
    assert (y != NOT_ASKED).any(1).all()
    only = torch.tensor([words.row([])])
    assert (hide(only, None, words, torch.Generator().manual_seed(0))[1] == NOT_ASKED).all()


def test_a_step_hides_by_seed_and_number(tmp_path: Path) -> None:
    dataset = mlm_file(story(tmp_path / "a.txt"), length=32, words=120)
    batches = [Hidden(dataset.train, 16, seed, dataset.vocabulary)(step) for seed, step in ((1, 3), (1, 3), (1, 40))]
    assert all(torch.equal(batches[0][key], batches[1][key]) for key in ("x", "y", "lengths"))
    assert not torch.equal(batches[0]["x"], batches[2]["x"])
    whole = shown(dataset.train)
    assert not (whole.x == dataset.vocabulary.mask).any()
    assert torch.equal(whole.y[:, 0], dataset.train.y[:, 0])
    epoch = [Hidden(dataset.train, len(dataset.train), 1, dataset.vocabulary)(step) for step in (0, 1)]
    assert (epoch[0]["y"][:, 1:] != epoch[1]["y"][:, 1:]).any()  # the same rows, other words


def test_pairs_are_neighbours_or_drawn(tmp_path: Path) -> None:
    words = vocabulary()
    documents = [[f"the {a} sees the {b}.", f"the {b} likes the {a}."] for a in ("cat", "dog") for b in ("fox", "hen")]
    parts = dict.fromkeys(("train", "dev", "test"), documents * 60)
    dataset = masked("pairs", parts, "made", length=17, vocabulary=words)
    whole = shown(dataset.train)
    follows = whole.y[:, 0]
    texts = [words.tokenizer.decode(row[:n].tolist(), skip_special_tokens=False) for row, n in
             zip(whole.x, whole.lengths, strict=True)]  # fmt: skip
    pairs = {tuple(part.strip() for part in text.removeprefix("[CLS]").split("[SEP]")[:2]) for text, asked in
             zip(texts, follows.tolist(), strict=True) if asked == 0}  # fmt: skip
    assert pairs == {tuple(document) for document in documents}
    asked = follows[follows != NOT_ASKED]
    assert close(float(asked.float().mean()), 0.5, len(asked))
    alone = [text for text, one in zip(texts, follows.tolist(), strict=True) if one == NOT_ASKED]
    assert len(alone) == len(parts["train"])  # the end of each document
    assert all(text.count("[SEP]") == 1 for text in alone)


def test_paragraphs_and_long_sentences() -> None:
    assert paragraphs(["", "a", " b ", "", "", "c"]) == [["a", "b"], ["c"]]
    words = vocabulary()
    long = ["the cat sees the dog . " * 20]
    dataset = masked("long", dict.fromkeys(("train", "dev", "test"), [long] * 20), "made", length=16, vocabulary=words)
    assert int(dataset.train.lengths.max()) == 16
    kept = shown(dataset.train)
    assert int((~torch.isin(kept.x, words.special)).sum()) == 20 * 120  # nothing is cut off


def task_of(dataset: data.DataSet, name: str = "bert", **keys: int) -> MaskedLM:
    torch.manual_seed(0)
    task = make(dataset, find(name), models.create(name, **(KEYS | keys)))
    assert isinstance(task, MaskedLM)
    return task


def test_the_loss_by_hand(tmp_path: Path) -> None:
    dataset = mlm_file(story(tmp_path / "a.txt"), length=32, words=120)
    task = task_of(dataset)
    nan = {"x": torch.zeros(3, 4), "y": torch.tensor([[1, 7, -1, 5], [-1, -1, 2, -1], [0, 3, -1, -1]])}
    words, follows = torch.randn(4, 10), torch.randn(2, 2)
    loss, count = task.criterion(Told(words, follows), nan)
    p = words.softmax(-1)
    by_word = -sum(log(float(p[i, t])) for i, t in enumerate((7, 5, 2, 3)))
    q = follows.softmax(-1)
    by_pair = -2 * log(float(q[0, 1])) - 1 * log(float(q[1, 0]))  # two hidden words in row 0, one in row 2
    assert float(count) == 4
    assert float(loss) == pytest.approx(by_word + by_pair, rel=1e-5)
    right, asked = task.each(Told(words, follows), nan)
    assert asked.tolist() == [2, 1, 1]
    assert float(right.sum()) == sum(int(words[i].argmax()) == t for i, t in enumerate((7, 5, 2, 3)))
    more = task.further([(Told(words, follows), nan)])
    assert more["perplexity"] == pytest.approx(exp(by_word / 4), rel=1e-5)
    assert more["next_sentence_accuracy"] == float((follows.argmax(-1) == torch.tensor([1, 0])).float().mean())


@torch.no_grad()
def test_sums_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    """The parts of a batch, added, are the batch, padding and pairs included."""
    dataset = mlm_file(story(tmp_path / "a.txt"), length=32, words=120)
    task = task_of(dataset).double()
    batch = dataset.dev.rows(slice(0, 20))
    whole, count = task.loss(batch)
    parts = [task.loss({key: value[at] for key, value in batch.items()}) for at in (slice(0, 3), slice(3, 20))]
    assert float(whole) == pytest.approx(float(sum(p[0] for p in parts)), rel=1e-12)
    assert float(count) == float(sum(p[1] for p in parts))


@pytest.mark.interop
@torch.no_grad()
def test_the_heads_are_those_of_transformers(tmp_path: Path) -> None:
    """BertForPreTraining with our weights tells the same words and pairs, and the same loss where rows weigh alike."""
    from lamina import interop

    words = vocabulary()
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, hidden_dropout_prob=0.0, sep_token_id=words.separator,
    )  # fmt: skip
    torch.manual_seed(1)
    peer = transformers.BertForPreTraining(config).eval()
    for weight in peer.parameters():
        weight += 0.05 * torch.randn_like(weight)
    peer.save_pretrained(tmp_path / "theirs")
    words.save(tmp_path / "theirs")
    dataset = mlm_file(story(tmp_path / "a.txt"), length=32, vocabulary=words)
    task = task_of(dataset)
    Start.read(tmp_path / "theirs").put(task)
    loaded = interop.load(tmp_path / "theirs")
    task.head.load_state_dict(list(loaded.children())[2].state_dict())
    task.follows[0].load_state_dict(peer.bert.pooler.dense.state_dict())
    task.follows[2].load_state_dict(peer.cls.seq_relationship.state_dict())
    batch = dataset.dev.rows(slice(0, 12))
    x, mask = batch["x"].long(), torch.arange(32) < batch["lengths"][:, None]
    ends = ((x == words.separator) & mask).long()
    segments = (ends.cumsum(1) - ends).clamp(max=1)
    theirs = peer(x, attention_mask=mask.long(), token_type_ids=segments)
    told, asked = task(batch), task.asked(batch)
    torch.testing.assert_close(told.words, theirs.prediction_logits[asked], atol=1e-4, rtol=1e-4)
    paired = batch["y"][:, 0] != NOT_ASKED
    torch.testing.assert_close(told.follows, theirs.seq_relationship_logits[paired], atol=1e-4, rtol=1e-4)
    loss, count = task.loss(batch)
    nats = F.cross_entropy(theirs.prediction_logits[asked], batch["y"][asked].long())
    each = F.cross_entropy(theirs.seq_relationship_logits[paired], batch["y"][paired, 0].long(), reduction="none")
    weights = asked.sum(1)[paired] / asked.sum()
    assert float(loss / count) == pytest.approx(float(nats + (weights * each).sum()), rel=1e-4)


def test_training_tells_words_and_stays_tied(tmp_path: Path) -> None:
    """A run beats the most frequent word, its output weights are the embedding's, and one cut off goes on bit-equal."""
    name = f"mlm:{story(tmp_path / 'a.txt')},length=32,words=120"
    dataset = data.load(name)
    assert data.where(name) == f"mlm:{(tmp_path / 'a.txt').resolve()},length=32,words=120"
    order = Order("bert", KEYS, data.where(name), steps=150, lr=1e-2, batch_size=16)
    train_run(order, dataset, tmp_path / "run")
    assert (tmp_path / "run" / "tokenizer.json").is_file()
    found = load_run(tmp_path / "run")
    assert list(found.task.head.children())[3].linear.weight is found.task.stem.table.weight
    told = evaluate_run(found, "test")
    words = dataset.test.y[:, 1:][dataset.test.y[:, 1:] != NOT_ASKED].long()
    assert told["score"] > 1.3 * float((words == words.bincount().argmax()).float().mean())
    assert 1 < told["perplexity"] < 30
    assert 0 <= told["next_sentence_accuracy"] <= 1
    how: dict[str, Any] = {"steps": 12, "lr": 1e-2, "seed": 0, "batch_size": 16, "checkpoint_every": 1}
    whole, parts = order.build(dataset), order.build(dataset)
    fit(whole, dataset, **how)

    def stop(step: int, loss: float) -> None:
        if step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(parts, dataset, **how, out=tmp_path / "cut", on_step=stop)
    parts = order.build(dataset)
    fit(parts, dataset, **how, out=tmp_path / "cut")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))


def test_other_structures_may_be_asked_too(tmp_path: Path) -> None:
    dataset = mlm_file(reviews(tmp_path / "a.tsv"), length=32, words=120)
    assert (dataset.train.y[:, 0] == NOT_ASKED).all()  # texts with labels stand alone
    torch.manual_seed(0)
    task = make(dataset, find("gru"), models.create("gru", d_model=16))
    with torch.no_grad():
        loss, count = task.loss(dataset.train.rows(slice(0, 8)))
    assert float(loss / count) == pytest.approx(log(len(dataset.vocabulary)), abs=1.5)


def test_the_library_has_english() -> None:
    dataset = mlm(length=64, words=1000)
    words = dataset.vocabulary
    assert dataset.name == "mlm"
    assert len(dataset.train) > 5000
    assert {"the", "return", "string"} <= set(words.tokenizer.get_vocab())
    again = mlm(length=64, words=1000, vocabulary=Vocabulary.of(words.text()))
    assert again.digest == dataset.digest


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mlm:none.txt", "none.txt: no such file; give a .txt with a sentence or a paragraph a line"),
        ("mlm:a.txt,lenth=8", "unknown option 'lenth'; did you mean 'length'?"),
        ("mlm:a.txt,length=4", "length=4, words=8000; they must be at least 8 and 64"),
        ("mlm:empty.txt", "train: no text; give more lines"),
        ("mlm:short.txt", "at least 20 are needed"),
    ],
)
def test_what_cannot_be_read_is_said(name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    story(tmp_path / "a.txt")
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "short.txt").write_text("the cat .\n" * 30)
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        data.load(name)


def test_a_question_about_the_sentences_is_no_word() -> None:
    words = vocabulary()
    tokens = torch.tensor([words.row([10, 11], [12, 13])] * 2)
    split = ask(tokens, None, torch.tensor([1, NOT_ASKED]), words, torch.Generator().manual_seed(0))
    assert split.y[:, 0].tolist() == [1, NOT_ASKED]
    assert torch.equal(shown(split).x, tokens)


def test_sub_words_are_learned_the_same_twice() -> None:
    first, second = vocabulary(), vocabulary()
    assert first.text() == second.text()
    assert first.pieces(["the fox sees"]) == [[first.tokenizer.token_to_id(w) for w in ("the", "fox", "sees")]]
    assert first.word(first.mask) == "[MASK]"
    pair = first.pieces(["the fox", "the hen ."])
    assert first.row(*pair) == first.tokenizer.encode("The fox", "the hen.").ids
