"""Token tasks: the loss and the score of the frames that are asked, and of no other."""

from __future__ import annotations

from math import log

import pytest
import torch

from lamina import data, models
from lamina.core import Layer, Seq, Serial, run_steps
from lamina.data import NOT_ASKED, CannotTake, DataSet, Split
from lamina.layers import GRU, Embedding, Subsample
from lamina.models import find
from lamina.tasks import Answer, LanguageModel, Task, make
from lamina.train import Order, evaluate, fit

RECALL = data.load("mqar:pairs=2,length=12,vocab=8")


def small(dataset: DataSet = RECALL, backbone: Layer | None = None) -> Task:
    torch.manual_seed(1)
    return make(dataset, find("gru"), backbone or GRU(6, 5))


def ragged() -> DataSet:
    """Rows of 3..7 tokens, asked at some; the padding holds tokens out of range."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.arange(9) % 5 + 3
    x, y = torch.randint(4, (9, 7), generator=generator), torch.randint(-1, 3, (9, 7), generator=generator)
    absent = torch.arange(7) >= lengths[:, None]
    x[absent], y[absent] = -7, NOT_ASKED
    y[:, 0] = 2
    split = Split(x, y, lengths)
    return DataSet("ragged", "tokens", "answer", split, split, split, "made here", n_classes=3, n_vocab=4)


def test_the_loss_is_the_cross_entropy_of_the_asked_frames() -> None:
    task, batch = small(), RECALL.test.rows(slice(0, 5))
    assert isinstance(task, Answer)
    assert isinstance(task.stem, Embedding)
    frames = task.encoder()(Seq.of(batch["x"])).values
    logits = (frames @ task.head.weight.T + task.head.bias).log_softmax(-1)
    rows, places = (batch["y"] != NOT_ASKED).nonzero(as_tuple=True)
    wanted = -logits[rows, places, batch["y"][rows, places]].sum()
    loss, count = task.loss(batch)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert float(count) == len(rows) == 10
    assert task(batch).shape == (10, 8)  # the head computes these frames only
    right = (logits.argmax(-1) == batch["y"]) & (batch["y"] != NOT_ASKED)
    found, n = task.each(task(batch), batch)
    assert torch.equal(found, right.sum(1).float())
    assert n.tolist() == [2.0] * 5
    assert [float(v) for v in task.judge(task(batch), batch)] == [right.sum(), 10]


def test_a_ragged_batch_costs_what_its_rows_cost_alone() -> None:
    dataset = ragged()
    task, whole = small(dataset), dataset.train.rows(slice(None))
    alone = [0.0, 0.0, 0.0]
    for row, length in enumerate(dataset.train.lengths):
        batch = {key: whole[key][row : row + 1, :length] for key in ("x", "y")}
        loss, n = task.loss(batch)
        alone = [
            a + float(b) for a, b in zip(alone, (loss.detach(), n, task.judge(task(batch), batch)[0]), strict=True)
        ]
    loss, n = task.loss(whole)
    assert loss.item() == pytest.approx(alone[0], rel=1e-5)
    assert [float(n), float(task.judge(task(whole), whole)[0])] == alone[1:]
    (loss / n).backward()
    assert all(torch.isfinite(p.grad).all() for p in task.parameters())


def test_bits_per_byte_is_the_cross_entropy_in_bits() -> None:
    text = data.load("text:length=16")
    task = small(text)
    assert isinstance(task, LanguageModel)
    assert (task.metric.name, task.metric.better) == ("bits per byte", "lower")
    batch = text.dev.rows(slice(0, 3))
    frames = task.encoder()(Seq.of(batch["x"].long())).values
    logits = (frames @ task.head.weight.T + task.head.bias).log_softmax(-1)
    nats = -logits.gather(2, batch["y"].long()[..., None])[..., 0]
    found, n = task.each(task(batch), batch)
    assert torch.allclose(found, nats.sum(1) / log(2), rtol=1e-5)
    assert n.tolist() == [16.0] * 3
    torch.nn.init.zeros_(task.head.weight)
    torch.nn.init.zeros_(task.head.bias)
    assert evaluate(task, text.dev) == pytest.approx(8.0)  # 256 equal guesses


@pytest.mark.parametrize("batch_size", [1, 7, 512])
def test_a_score_does_not_depend_on_the_batch_size(batch_size: int) -> None:
    for dataset in (RECALL, ragged()):
        task = small(dataset)
        split = Split(dataset.test.x[:50], dataset.test.y[:50], dataset.test.lengths)
        assert evaluate(task, split, batch_size) == pytest.approx(evaluate(task, split), rel=1e-6)


def test_long_rows_are_scored_a_few_at_a_time() -> None:
    split = Split(torch.zeros(100, 2**13, dtype=torch.int64), torch.zeros(100, 2**13, dtype=torch.int64))
    assert [s.stop - s.start for s in data.batch.in_order(split, 512)] == [4] * 25
    assert len(data.batch.in_order(RECALL.test, 512)) == 4


def test_the_encoder_streams_from_tokens() -> None:
    task = Order("gru", {"d_model": 8}, RECALL.name).build(RECALL).eval()
    tokens = Seq.of(RECALL.test.x[:2])
    whole = task.encoder()(tokens)
    assert torch.allclose(run_steps(task.encoder(), tokens).values, whole.values, atol=1e-6)
    batch = RECALL.test.rows(slice(0, 2))
    assert torch.allclose(task.head(task.pool(whole, batch)), task(batch), atol=1e-6)


def test_who_sees_the_next_byte_may_not_tell_it() -> None:
    text = data.load("text:length=16")
    for name, keys, reason in (
        ("conv", {"right": 2}, "looks 4 frames ahead, where the byte stands that text:length=16 asks for"),
        ("transformer", {"left": None}, "told byte by byte, but it does not stream"),
        ("mlp", {}, "gives one answer an example; text:length=16 asks at frames of a sequence of 16 tokens"),
        ("lenet", {}, "needs images; text:length=16 is a sequence of 16 tokens"),
    ):
        with pytest.raises(CannotTake, match=reason):
            Order(name, keys, text.name).build(text)
    assert models.create("conv", right=2).stream_spec().delay  # recall may look ahead: its answers are not in the input
    Order("conv", {"right": 2}, RECALL.name).build(RECALL)
    with pytest.raises(CannotTake, match="asks at each frame, but it gives 32 frames for 64"):
        small(backbone=Serial(Subsample(6, 8, 2), GRU(8, 5)))


def test_training_reads_fresh_examples_and_learns() -> None:
    dataset = data.load("parity:length=6")
    task = Order("gru", {"d_model": 16, "n_layers": 1}, dataset.name).build(dataset)
    history = fit(task, dataset, steps=150, lr=2e-2, seed=0, batch_size=32)
    assert history.dev[-1][1] > 0.95
    assert evaluate(task, dataset.test) > 0.95
