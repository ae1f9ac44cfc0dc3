"""Texts with labels, fine-tuning, and the commands that tell words and labels: of runs and of others' folders."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from lamina import data, models
from lamina.cli import _run
from lamina.compare import handover
from lamina.core import UserError
from lamina.data.labelled import read_table, read_texts
from lamina.data.vocabulary import Vocabulary
from lamina.models import find
from lamina.tasks import make
from lamina.train import Classifier, Filler, load_run
from text_parts import reviews, story, vocabulary

SIZE = ["--set", "d_model=32", "--set", "n_layers=1", "--lr", "1e-2", "--batch-size", "16"]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = _run([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained run, and one fine-tuned from it."""
    folder = tmp_path_factory.mktemp("runs")
    story(folder / "story.txt")
    reviews(folder / "reviews.tsv")
    text = f"mlm:{folder / 'story.txt'},length=32,words=160"
    assert _run(["train", "bert", text, "--steps", "200", "--out", str(folder / "told"), "--json", *SIZE]) == 0
    tuned = ["--from", str(folder / "told"), "--steps", "60", "--lr", "3e-3", "--batch-size", "16", "--json"]
    assert _run(["train", "bert", str(folder / "reviews.tsv"), *tuned, "--out", str(folder / "tuned")]) == 0
    return folder


def theirs(head: str, folder: Path, **keys: Any) -> Any:
    """A BERT that transformers made and saved, with a tokenizer."""
    words = vocabulary()
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=40, **keys,
    )  # fmt: skip
    peer = getattr(transformers, f"Bert{head}")(config).eval()
    with torch.no_grad():
        for weight in peer.parameters():
            weight += 0.3 * torch.randn_like(weight)
    peer.save_pretrained(folder)
    words.save(folder)
    return peer


def test_fill_tells_words_of_a_run(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "the cat sees [MASK] dog [MASK]"
    status, out, _ = run(capsys, "fill", runs / "told", text, "--top", 3, "--json")
    found = json.loads(out)
    assert status == 0
    assert found["text"] == text
    first, second = found["masks"]
    assert first[0]["word"] == "the"  # in every sentence two
    assert second[0]["word"] == "."
    assert len(first) == 3
    assert first[0]["probability"] > 0.5
    assert sum(row["probability"] for row in first) <= 1 + 1e-6
    status, out, _ = run(capsys, "fill", runs / "told", text)
    assert out.splitlines()[0] == "[MASK] 1"
    assert out.splitlines()[1].endswith("%  the")
    assert len(out.splitlines()) == 12


def test_classify_tells_labels_of_a_run(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "classify", runs / "tuned", "the superb hen likes us", "--json")
    (row,) = json.loads(out)["texts"]
    assert status == 0
    assert row["label"] == "good"
    assert sum(row["probabilities"].values()) == pytest.approx(1)
    (tmp_path / "some.txt").write_text("the dull fox hears us\n\nthe lovely fox hears us\n" * 70)
    status, out, _ = run(capsys, "classify", runs / "tuned", tmp_path / "some.txt")
    assert [line.split("\t")[0] for line in out.splitlines()] == ["bad", "good"] * 70
    status, out, _ = run(capsys, "classify", runs / "tuned", runs / "reviews.tsv", "--json")
    found = [row["label"] for row in json.loads(out)["texts"]]
    assert sum(a == b for a, b in zip(found, read_table(runs / "reviews.tsv")[1], strict=True)) > 0.95 * len(found)
    assert _run(["eval", str(runs / "tuned"), "--json"]) == 0
    assert json.loads(capsys.readouterr()[0])["score"] > 0.95
    assert run(capsys, "classify", runs / "tuned", "the dull fox")[1].splitlines()[0].endswith("%  bad")


def test_a_text_of_a_file_is_the_same_as_alone(runs: Path) -> None:
    told = Classifier.read(runs / "tuned")
    texts = ["the dull fox", "a", "the lovely hen sees the dull cat " * 20]
    for text, found in zip(texts, told.classify(texts), strict=True):
        assert told.classify([text])[0] == pytest.approx(found, abs=1e-5)


def test_fine_tuning_begins_with_what_was_learned(runs: Path) -> None:
    begun = load_run(runs / "told").task
    tuned = load_run(runs / "tuned")
    order = {**tuned.facts["order"]}
    assert order["start"] == str((runs / "told").resolve())
    from lamina.train import Order

    first = Order(**order).build(tuned.dataset)
    for name in ("stem.table.weight", "backbone.0.table.weight"):
        assert torch.equal(first.state_dict()[name], begun.state_dict()[name])
    assert (runs / "tuned" / "tokenizer.json").read_text() == (runs / "told" / "tokenizer.json").read_text()


@pytest.mark.interop
def test_fill_is_what_transformers_says(tmp_path: Path) -> None:
    peer = theirs("ForMaskedLM", tmp_path, id2label={0: "a", 1: "b"})
    filler, words = Filler.read(tmp_path), vocabulary()
    ((*_, last),) = [filler.fill("the cat [MASK] the dog .", 7)[0]]
    row = words.row(words.pieces(["the cat [MASK] the dog ."])[0])
    with torch.no_grad():
        p = peer(torch.tensor([row])).logits[0, row.index(words.mask)].softmax(-1).topk(7)
    assert last[0] == words.word(int(p.indices[6]))
    assert last[1] == pytest.approx(float(p.values[6]), rel=1e-4)


@pytest.mark.interop
def test_classify_is_what_transformers_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = {0: "sad", 1: "glad", 2: "neither"}
    peer = theirs("ForSequenceClassification", tmp_path, num_labels=3, id2label=labels)
    words = vocabulary()
    row = words.row(words.pieces(["the cat finds us"])[0])
    with torch.no_grad():
        p = peer(torch.tensor([row])).logits[0].softmax(-1).tolist()
    _, out, _ = run(capsys, "classify", tmp_path, "the cat finds us", "--json")
    found = json.loads(out)["texts"][0]
    assert found["probabilities"] == pytest.approx({labels[i]: share for i, share in enumerate(p)}, rel=1e-4)
    assert found["label"] == labels[p.index(max(p))]


@pytest.mark.interop
def test_a_run_begins_with_a_folder_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs("Model", tmp_path / "peer", hidden_dropout_prob=0.0)
    capsys.readouterr()  # transformers' own progress
    order = ["--from", tmp_path / "peer", "--steps", 40, "--lr", 3e-3, "--batch-size", 16, "--json"]
    status, out, err = run(capsys, "train", "bert", reviews(tmp_path / "a.tsv"), *order, "--out", tmp_path / "run")
    assert (status, err) == (0, "")
    assert json.loads(out)["dev"] > 0.8
    assert Classifier.read(tmp_path / "run").labels == ("bad", "good")


@pytest.mark.interop
def test_the_older_vocabulary_file(tmp_path: Path) -> None:
    theirs("ForMaskedLM", tmp_path)
    text = "the cat [MASK] the dog ."
    before = Filler.read(tmp_path).fill(text, 3)
    words = vocabulary()
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.txt").write_text("\n".join(words.word(i) for i in range(len(words))) + "\n")
    assert Filler.read(tmp_path).fill(text.upper(), 3) == before
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert Vocabulary.read(tmp_path).pieces(["THE"]) == [[words.tokenizer.token_to_id("[UNK]")]]


TABLES = {
    "named.csv": ("label,text\n1,\"a, b\"\n0,c d\n", ["a, b", "c d"], ["1", "0"]),
    "first.csv": ('2,Title,"The ""rest"", here"\n1,Other,more\n2,Third,words\n',
                  ['Title The "rest", here', "Other more", "Third words"], ["2", "1", "2"]),
    "last.tsv": ("one long string\t0\nit's \"ok\t1\nanother\t0\n", ["one long string", "it's \"ok", "another"],
                 ["0", "1", "0"]),
    "empty-columns.tsv": ("ham\tfine\t\t\t\nspam\twin\t\tmore\t\nham\tok\t\t\t\n", ["fine", "win more", "ok"],
                          ["ham", "spam", "ham"]),
    "a.jsonl": ('{"sentence": "a b", "label": 1}\n\n{"sentence": "c", "label": 0}\n', ["a b", "c"], ["1", "0"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_tables_as_they_come(name: str, tmp_path: Path) -> None:
    content, texts, labels = TABLES[name]
    (tmp_path / name).write_text(content)
    assert read_table(tmp_path / name) == (texts, labels)
    assert read_texts(tmp_path / name) == texts


def test_a_table_becomes_a_data_set(tmp_path: Path) -> None:
    path = reviews(tmp_path / "a.tsv")
    dataset = data.load(str(path))
    assert (dataset.task, dataset.labels, dataset.n_out) == ("classify", ("bad", "good"), 2)
    assert dataset.describe()["labels"] == ["bad", "good"]
    words = dataset.vocabulary
    decoded = words.tokenizer.decode(dataset.train.x[0].tolist())
    texts, labels = read_table(path)
    assert labels[texts.index(decoded)] == dataset.labels[int(dataset.train.y[0])]
    assert data.load(str(path)).digest == dataset.digest
    other = data.load(str(path), vocabulary())
    assert other.n_vocab == len(vocabulary())
    handover.write(dataset, tmp_path / "handed")
    handed = handover.read(tmp_path / "handed")
    assert handed.digest == dataset.digest
    assert (handed.labels, handed.vocabulary.text()) == (dataset.labels, words.text())
    torch.manual_seed(0)
    task = make(handed, find("gru"), models.create("gru", d_model=16))  # not BERT alone
    assert task(handed.dev.rows(slice(0, 5))).shape == (5, 2)
    numbers = tmp_path / "n.csv"
    numbers.write_text("".join(f"word{i} more,{i % 12}\n" for i in range(240)))
    assert data.load(str(numbers)).labels == tuple(str(i) for i in range(12))  # by size, 10 behind 9


LINES = [
    ("fill told 'no mask'", "the text holds no [MASK]; write [MASK] in place of the word that is to be told"),
    ("fill told 'a [MASK]' --top 0", "--top 0: it must be at least 1"),
    ("fill tuned 'a [MASK]'", "tuned: was trained to classify, not to tell words; give a run of mlm"),
    ("fill plain 'a [MASK]'", "plain: has no head that tells words; give one that BertForMaskedLM saved"),
    ("fill wordless 'a [MASK]'", "wordless: holds no tokenizer.json, so its words cannot be read; put it beside"),
    ("fill foreign 'a [MASK]'", "tokenizer.json: has no [CLS], so it is not BERT's; give a folder whose tokenizer has"),
    ("fill broken 'a [MASK]'", "tokenizer.json: is no tokenizer that can be read"),
    ("fill nowhere 'a [MASK]'", "holds no run.json and no config.json; give a run, or others' folder"),
    ("classify told x", "told: was trained on mlm, which has no classes; fine-tune it: lamina train bert FILE.tsv"),
    ("classify plain x", "plain: has no head of classes; give one that BertForSequenceClassification saved"),
    ("classify tuned ''", "the text is empty; give some words, or a file of texts"),
    ("classify tuned empty.txt", "empty.txt: empty; give a text a line"),
    ("classify digits x", "digits: was trained on digits, which is no text in words; train one on text"),
    ("train gru reviews.tsv --from told", "told: holds a bert, not a gru; train that"),
    ("train bert reviews.tsv --from told --set d_model=8", "d_model=8: told has d_model=32; leave it out"),
    (
        "train bert reviews.tsv --from digits",
        "digits: its gru was trained neither on words nor on sounds; give a run of `lamina pretrain` or of mlm, a BERT "
        "or a wav2vec2",
    ),
    ("train bert none.tsv", "none.tsv: no such file; give a .tsv, .csv, .jsonl with a text and a label a row"),
    ("train bert one.csv", "one.csv: row 2 has one column; give it a text and a label, divided by a comma"),
    ("train bert unsaid.csv", "neither the first nor the last column is of classes; name them in a first line"),
    ("train bert half.jsonl", 'half.jsonl: row 1 is no object like {"text": "...", "label": "..."}'),
    ("train bert hole.csv", "hole.csv: row 2 has no label; give it one, or remove the row"),
    ("train bert latin.tsv", "latin.tsv: is not UTF-8"),
    ("train bert same.tsv", "one class only (0); add examples of another class"),
]


@pytest.fixture(scope="module")
def folders(runs: Path) -> Path:
    """Beside the runs what cannot be used."""
    for name in ("plain", "wordless", "foreign", "broken"):
        theirs("Model", runs / name, sep_token_id=3)
    (runs / "wordless" / "tokenizer.json").unlink()
    (runs / "foreign" / "tokenizer.json").write_text(
        (runs / "plain" / "tokenizer.json").read_text().replace("CLS", "S")
    )
    (runs / "broken" / "tokenizer.json").write_text("{}")
    small = ["--set", "d_model=8", "--set", "n_layers=1", "--steps", "2", "--json"]
    assert _run(["train", "gru", "digits", *small, "--out", str(runs / "digits")]) == 0
    for name, content in {
        "empty.txt": "\n", "one.csv": "a text,1\nanother\n", "half.jsonl": '{"text": "a"}\n',
        "hole.csv": "text,label\na,1\nb,\n", "same.tsv": "".join(f"word{i}\t0\n" for i in range(40)),
        "unsaid.csv": "".join(f"word{i},no{i}\n" for i in range(40)),
    }.items():  # fmt: skip
        (runs / name).write_text(content)
    (runs / "latin.tsv").write_bytes("é\t1\n".encode("latin-1"))
    return runs


@pytest.mark.parametrize(("line", "message"), LINES)
def test_one_line_says_what_is_wrong(
    line: str, message: str, folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import shlex

    monkeypatch.chdir(folders)
    status, out, err = run(capsys, *shlex.split(line))
    assert status == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.startswith("tokenizers"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match=r"run: pip install 'lamina\[text\]'"):
        Vocabulary.learn(["a b"], 100)
