"""Encoder and decoder: the layers beside PyTorch's, the search beside trying everything, the data, the command."""

import json
import math
from itertools import product

import pytest
import torch
from torch import nn

import lamina
from lamina import Seq, UserError, cli, data, models, tasks
from lamina.layers import AdditiveDecoder, MemoryAttention, Sinusoid
from lamina.tasks.align import alignment
from lamina.tasks.bleu import bleu
from lamina.tasks.search import search
from lamina.train import Order

LENGTHS = torch.tensor([5, 3, 1])


def _memory(width):
    return Seq.ragged(torch.randn(3, 5, width), LENGTHS)


@torch.no_grad()
def test_memory_attention_is_pytorchs():
    ours, theirs = MemoryAttention(8, 2, d_memory=6), nn.MultiheadAttention(8, 2, kdim=6, vdim=6, batch_first=True)
    k, v = ours.kv.weight.chunk(2)
    weights = {"q_proj_weight": ours.query.weight, "k_proj_weight": k, "v_proj_weight": v}
    weights |= {"in_proj_bias": torch.cat([ours.query.bias, ours.kv.bias]), "out_proj.weight": ours.out.weight}
    theirs.load_state_dict(weights | {"out_proj.bias": ours.out.bias})
    x, memory = Seq.of(torch.randn(3, 4, 8)), _memory(6)
    want, maps = theirs(x.values, memory.zeroed(), memory.zeroed(), key_padding_mask=~memory.mask)
    torch.testing.assert_close(ours(x, memory).values, want)
    torch.testing.assert_close(ours.weights(x, memory).mean(2), maps)


@torch.no_grad()
def test_additive_decoder_is_its_formula_around_pytorchs_cell():
    ours = AdditiveDecoder(6, 4)
    cell = nn.GRUCell(10, 6)
    weight, (r, z, n, recurrent) = ours.cell.weight.t(), ours.cell.bias.chunk(4)
    cell.weight_ih.copy_(weight[:, :10])
    cell.weight_hh.copy_(weight[:, 10:])
    cell.bias_ih.copy_(torch.cat([r, z, n]))
    cell.bias_hh.copy_(torch.cat([0 * r, 0 * z, recurrent]))
    x, memory = torch.randn(3, 4, 6), _memory(4)
    y, maps = ours(Seq.of(x), memory).values, ours.weights(Seq.of(x), memory)
    for row, length in enumerate(LENGTHS.tolist()):
        m = memory.values[row, :length]
        h = torch.tanh(ours.start(m[0]))
        for t in range(4):
            score = [ours.score @ torch.tanh(ours.query(h) + ours.key(frame)) for frame in m]
            a = torch.stack(score).softmax(0)
            c = a @ m
            h = cell(torch.cat([x[row, t], c])[None], h[None])[0]
            pairs = ours.readout(torch.cat([h, c, x[row, t]])).reshape(6, 2)
            torch.testing.assert_close(y[row, t], pairs.max(1).values)
            torch.testing.assert_close(maps[row, t, 0], nn.functional.pad(a, (0, 5 - length)))


def test_sinusoid_at_a_few_places():
    y = Sinusoid(4)(Seq.of(torch.zeros(1, 101, 4))).values[0]
    for t in (0, 1, 100):
        want = [math.sin(t), math.cos(t), math.sin(t / 100), math.cos(t / 100)]
        torch.testing.assert_close(y[t], torch.tensor(want))
    halves = Sinusoid(4, halves=True)(Seq.of(torch.zeros(1, 101, 4))).values[0]
    assert torch.equal(halves, y[:, [0, 2, 1, 3]])


def test_a_decoder_that_reads_other_frames_is_refused():
    with pytest.raises(ValueError, match="the encoder gives width 6, the decoder reads 5"):
        lamina.layers.EncoderDecoder(lamina.layers.Linear(4, 6), AdditiveDecoder(8, 5))
    with pytest.raises(UserError, match="unknown cell 'lstn'; did you mean 'lstm'"):
        AdditiveDecoder(8, 5, "lstn")


# -- the search


@pytest.fixture(scope="module")
def tiny():
    """A translator of nine words, untrained: begin 2, end 3."""
    torch.manual_seed(3)
    words = data.Vocabulary.of_words(["a", "b", "c", "d"])
    parts = {name: [("a b", "c d"), ("b", "d c a")] * 4 for name in ("train", "dev", "test")}
    dataset = data.pairs.pairs("tiny", parts, "made", vocabulary=words)
    model = models.create("transformer_seq2seq", d_model=16, n_layers=1, n_heads=2)
    task = tasks.make(dataset, models.find("transformer_seq2seq"), model).eval()
    with torch.no_grad():
        for weight in task.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return task, dataset


def _log_p(task, source, target):
    """Of a target with its end, from one forward over all of it."""
    y = torch.tensor([[2, *target]])
    batch = {"x": source[None], "lengths": torch.tensor([len(source)]), "y": y}
    return float(task(batch).log_softmax(-1)[torch.arange(len(target)), torch.tensor(target)].sum())


@torch.no_grad()
def test_search_with_many_beams_finds_the_best_of_all_targets(tiny):
    task, _ = tiny
    source = torch.tensor([5, 6, 3])
    most, penalty = 3, 0.8
    every = [
        (*words, 3)[:most] for n in range(most + 1) for words in product([w for w in range(9) if w != 3], repeat=n)
    ]
    best = max(set(every), key=lambda target: _log_p(task, source, target) / len(target) ** penalty)
    found = search(task.teller(2, 3), Seq.of(source[None]), beams=600, most=most, length_penalty=penalty)
    assert found == [[w for w in best if w != 3]]


@torch.no_grad()
def test_greedy_is_the_likeliest_word_each_time_whatever_stands_beside_it(tiny):
    task, _ = tiny
    rows = [torch.tensor([5, 6, 3]), torch.tensor([8, 3])]
    source = Seq.ragged(nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([3, 2]))
    found = search(task.teller(2, 3), source, beams=1, most=40)  # longer than a cache has room for at first
    for row, words in zip(rows, found, strict=True):
        told = [2]
        while told[-1] != 3 and len(told) <= 40:
            y = torch.tensor([[*told, 0]])
            told.append(int(task({"x": row[None], "lengths": torch.tensor([len(row)]), "y": y})[-1].argmax()))
        assert words == [w for w in told[1:] if w != 3]


def test_search_refuses_numbers_below_one(tiny):
    for keys in ({"beams": 0}, {"most": 0}):
        with pytest.raises(UserError, match="must be at least 1"):
            search(tiny[0].teller(2, 3), Seq.of(torch.tensor([[5, 3]])), **keys)


@torch.no_grad()
def test_alignment_rows_are_weights(tiny):
    maps = alignment(tiny[0].teller(2, 3), torch.tensor([5, 6, 3]), torch.tensor([2, 7]))
    ((path, weights),) = maps.items()
    assert weights.shape == (2, 2, 3)
    assert path.endswith(".1.1")
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2))
    plain = models.create("seq2seq", d_model=8, attention=False)
    with pytest.raises(UserError, match="no attention to the source"):
        alignment(tasks.Teller(plain.encoder, None, plain.decoder, None, 2, 3), torch.zeros(1), torch.zeros(1))


# -- the task


@pytest.mark.parametrize("name", ["seq2seq", "transformer_seq2seq"])
def test_loss_is_the_sum_over_rows_alone(name, tiny):
    torch.manual_seed(0)
    task = tasks.make(tiny[1], models.find(name), models.create(name, d_model=8)).double().eval()
    batch = tiny[1].train.rows(slice(0, 4))
    whole, count = task.loss(batch)
    rows = [task.loss({key: value[i : i + 1] for key, value in batch.items()}) for i in range(4)]
    torch.testing.assert_close(whole, sum(loss for loss, _ in rows))
    assert int(count) == int((batch["y"] >= 0).sum()) - 4 == sum(int(n) for _, n in rows)
    log_p = task(batch).log_softmax(-1)
    want = -(0.9 * log_p.gather(1, task.targets(batch)[:, None])[:, 0] + 0.1 * log_p.mean(1)).sum()
    torch.testing.assert_close(whole, want)


def test_words_of_both_sides_and_the_output_are_one_table(tiny):
    task = Order("seq2seq", {"d_model": 8}, "tiny").build(tiny[1])
    assert task.head.weight is task.stem.table.weight


# -- the data


def test_dates_are_right_and_of_their_lengths():
    dataset = data.load("dates:length=12,probes=10+30")
    words = dataset.vocabulary
    assert int(dataset.train.lengths.max()) == 13  # the end is one
    assert {n: int(s.lengths.float().mean()) for n, s in dataset.probes.items()} == {10: 10, 30: 30}
    for i in range(300):
        source, target = (
            words.spelled(dataset.train.x[i].tolist()),
            words.spelled([n for n in dataset.train.y[i].tolist() if n >= 0]),
        )
        for item, digits in zip(source.split(" then "), target.split(" then "), strict=True):
            assert _digits(item) == digits


MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
          "november", "december")  # fmt: skip
SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
TENS = {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}


def _digits(item):
    """Read another way than it was made."""
    words = item.split()
    if any(word in MONTHS for word in words):
        month = next(MONTHS.index(word) + 1 for word in words if word in MONTHS)
        day, year = sorted((word for word in words if word not in MONTHS), key=int)
        return f"{year} {month:02} {int(day):02}"
    total = here = 0
    for word in words:
        if word == "hundred":
            here *= 100
        elif word == "thousand":
            total, here = 1000 * here, 0
        else:
            here += TENS[word] if word in TENS else SMALL.index(word)
    return " ".join(str(total + here))


def test_ones_own_pairs_and_what_is_wrong_with_them(tmp_path):
    path = tmp_path / "my.tsv"
    path.write_text("".join(f"Das ist Nr. {i}.\tThis is no. {i}.\n" for i in range(60)))
    dataset = data.load(f"pairs:{path},words=300")
    assert (len(dataset.train), len(dataset.dev), len(dataset.test)) == (54, 3, 3)
    words = dataset.vocabulary
    row = dataset.test.y[0]
    assert words.spelled(row[row >= 0].tolist()) == "This is no. 57."
    assert int(row[0]) == words.start
    assert data.where(f"pairs:{path},words=300") == f"pairs:{path.resolve()},words=300"
    for text, message in {
        "a\tb\tc\n": "line 1 holds 3 texts", "a\n": "line 1 holds 1 texts", "a\tb\n": "1 pairs; at least 20",
    }.items():  # fmt: skip
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            data.load(f"pairs:{path}")
    with pytest.raises(UserError, match="no such file"):
        data.load("pairs:nowhere.tsv")
    with pytest.raises(UserError, match="names nothing that pairs reads; write pairs:FILE"):
        data.load("pairs")


def test_bytes_give_every_text_back():
    words = data.Vocabulary.learn_bytes(["Zwei Männer, die lachen.", "two men"], 300)
    for text in ("Zwei Männer — 日本", " spaces  stay ", ""):
        assert words.spelled(words.pieces([text])[0]) == text


def test_structures_and_data_that_do_not_fit_are_refused():
    dataset = data.load("dates:length=6,probes=5")
    with pytest.raises(data.CannotTake, match="reads one side only"):
        tasks.make(dataset, models.find("lstm"), models.create("lstm"))
    with pytest.raises(data.CannotTake, match="needs a source and a target"):
        tasks.make(data.load("digits"), models.find("seq2seq"), models.create("seq2seq"))


def test_bleu_of_right_answers_is_100_and_of_half_of_them_is_sacrebleus():
    right = ["a man is in the park", "two dogs run on the wet grass"]
    assert bleu(right, right) == pytest.approx(100)
    # 6 of 7 words are right, and all longer runs; 7 words stand for 13
    half = 100 * math.exp(1 - 13 / 7) * (6 / 7) ** 0.25
    assert bleu(["a man is in the park", "x"], right) == pytest.approx(half)
    with pytest.raises(UserError, match="2 translations, 1 references"):
        bleu(right, right[:1])


# -- the command


def _lamina(*words):
    """The command; its exit status."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return stop.value.code


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    path = folder / "my.tsv"
    path.write_text("".join(f"eins {w}\tone {w}\n" for w in ("a", "b", "c", "d") * 10))
    sizes = ["--steps", 80, "--batch-size", 16, "--lr", "1e-2", "--set", "n_layers=1", "--set", "d_model=32"]
    assert not _lamina("train", "transformer_seq2seq", f"pairs:{path}", *sizes, "--out", folder / "run", "--json")
    return folder / "run"


def test_translate_tells_draws_and_scores(run, tmp_path, capsys):
    capsys.readouterr()
    assert not _lamina("translate", run, "eins c", "--attention", tmp_path / "map.svg", "--json")
    assert json.loads(capsys.readouterr().out)["translations"] == ["one c"]
    assert (tmp_path / "map.svg").read_text().count("<rect") > 9
    source, target = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("eins a\neins d\n")
    target.write_text("one a\none d\n")
    assert not _lamina("translate", run, source, "--beams", 1, "--reference", target)
    told = capsys.readouterr()
    assert told.out == "one a\none d\n"
    assert "2 sentences" in told.err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nowhere.txt"], "nowhere.txt: no such file"),
        ([" "], "the text: empty"),
        (["eins", "--attention", "map.png"], "it draws one sentence into a FILE.svg"),
        (["eins", "--beams", "0"], "beams 0: it must be at least 1"),
    ],
)
def test_translate_refuses_in_one_line(run, given, message, capsys):
    assert _lamina("translate", run, *given) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
