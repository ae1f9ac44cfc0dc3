"""CTC: the loss against every alignment written out, its collapse, its errors, and what cannot be trained."""

from __future__ import annotations

from itertools import groupby, product
from typing import cast

import pytest
import torch
from torch import Tensor

from lamina import data, models
from lamina.core import UserError, taps
from lamina.data import NOT_ASKED, CannotTake, DataSet, Split
from lamina.speech.decode import BestPath
from lamina.tasks import Ctc, DeeplySupervised, make
from lamina.tasks.ctc import best_path, errors, fewest_frames
from lamina.train import Order, evaluate, fit

N_OUT = 3


def dataset(n: int = 12, frames: int = 9, labels: int = 2) -> DataSet:
    """Rows of two labels in noise: label 1 is loud in the first channel, label 2 in the second."""
    generator = torch.Generator().manual_seed(5)
    parts = []
    for _ in range(3):
        y = torch.stack([torch.randperm(2, generator=generator)[:labels] + 1 for _ in range(n)])
        x = 0.1 * torch.randn(n, frames, 4, generator=generator)
        for row in range(n):
            for at, label in enumerate(y[row].tolist()):
                x[row, 4 * at + 1 : 4 * at + 3, label - 1] += 2
        lengths = torch.full((n,), frames) - torch.arange(n) % 2
        parts.append(Split(x, y, lengths))
    return DataSet("two", "audio", "ctc", *parts, "made here", n_classes=N_OUT, labels="ab")


def task(name: str = "lstm", **keys: int) -> Ctc:
    torch.manual_seed(0)
    found = dataset()
    return cast(Ctc, make(found, models.find(name), models.create(name, d_model=8, **keys)).eval())


def collapsed(path: tuple[int, ...]) -> list[int]:
    return [label for label, _ in groupby(path) if label]


@pytest.mark.parametrize(("labels", "lengths"), [([[1], [2]], [1, 3]), ([[1, 2], [2, 2]], [4, 3]), ([[2, 1, 1]], [5])])
def test_the_loss_is_that_of_all_paths(labels: list[list[int]], lengths: list[int]) -> None:
    """-log of the sum over every path of T classes that collapses to the row, in float64, and its gradient."""
    torch.manual_seed(len(labels[0]))
    frames = max(lengths)
    prediction = torch.randn(len(labels), frames, N_OUT, dtype=torch.float64, requires_grad=True)
    batch = {"x": torch.zeros(len(labels), frames, 4), "y": torch.tensor(labels), "lengths": torch.tensor(lengths)}
    expected = prediction.new_zeros(())
    for row, n, y in zip(prediction, lengths, labels, strict=True):
        p = row[:n].softmax(-1)
        paths = [path for path in product(range(N_OUT), repeat=n) if collapsed(path) == y]
        expected = expected - torch.stack([p[range(n), list(path)].prod() for path in paths]).sum().log()
    loss, count = task().criterion(prediction, batch)
    assert abs(float((loss - expected).detach())) < 1e-10
    assert float(count) == sum(map(len, labels))
    ours, theirs = torch.autograd.grad(loss, prediction)[0], torch.autograd.grad(expected, prediction)[0]
    assert float((ours - theirs).abs().max()) < 1e-10


def test_float32_is_near_float64_over_many_frames() -> None:
    torch.manual_seed(1)
    prediction = 3 * torch.randn(2, 500, N_OUT, dtype=torch.float64)
    y = torch.tensor([[1, 2] * 30, [1, 1] * 20 + [NOT_ASKED] * 20])
    batch = {"x": torch.zeros(2, 500, 4), "y": y, "lengths": torch.tensor([500, 300])}
    wide, narrow = (task().criterion(p, batch)[0].double() for p in (prediction, prediction.float()))
    assert abs(float(narrow / wide) - 1) < 1e-5


def test_a_row_without_a_path_costs_infinity() -> None:
    batch = {"x": torch.zeros(1, 2, 4), "y": torch.tensor([[1, 1]]), "lengths": torch.tensor([2])}
    assert float(task().criterion(torch.zeros(1, 2, N_OUT), batch)[0]) == float("inf")


def test_the_best_path_merges_then_drops_blanks() -> None:
    paths = torch.tensor([[1, 1, 0, 1, 2, 2, 0], [0, 0, 0, 2, 2, 1, 1]])
    prediction = torch.nn.functional.one_hot(paths, N_OUT).float()
    assert best_path(prediction, torch.tensor([7, 5])) == [[1, 1, 2], [2]]
    assert best_path(prediction, torch.tensor([0, 3])) == [[], []]


def test_a_stream_finds_the_same_best_path() -> None:
    prediction, lengths = torch.randn(20, 40, N_OUT), torch.arange(20, 40)
    heard = [BestPath().whole(row[:n].log_softmax(-1)) for row, n in zip(prediction, lengths.tolist(), strict=True)]
    assert best_path(prediction, lengths) == [[one.label for one in labels] for labels in heard]


@pytest.mark.parametrize(
    ("reference", "found", "wrong"),
    [
        ([1, 2, 3], [1, 2, 3], 0),
        ([1, 2, 3], [], 3),
        ([1], [2, 1, 2], 2),
        ([1, 2, 3, 4], [1, 3, 5], 2),
        ([10], [1, 0], 2),
    ],
)
def test_errors_are_the_fewest_edits(reference: list[int], found: list[int], wrong: int) -> None:
    assert errors(reference, found) == wrong


def test_the_metric_adds_errors_and_labels_separately() -> None:
    paths = torch.tensor([[1, 0, 0, 0], [1, 0, 2, 0]])
    batch = {"x": torch.zeros(2, 4, 4), "y": torch.tensor([[2, NOT_ASKED, NOT_ASKED], [1, 2, 1]])}
    wrong, count = task().judge(torch.nn.functional.one_hot(paths, N_OUT).float(), batch)
    assert (float(wrong), float(count)) == (2.0, 4.0)


def test_fewest_frames_count_blanks_between_equal_labels() -> None:
    rows = torch.tensor([[1, 1, 1], [1, 2, 1], [2, NOT_ASKED, NOT_ASKED]])
    assert fewest_frames(rows).tolist() == [5, 3, 1]


@pytest.mark.parametrize(
    ("name", "keys"), [("lstm", {}), ("conformer", {"subsample": 2, "kernel": 3, "n_heads": 2}), ("mamba", {})]
)
def test_padding_and_batch_mates_change_nothing(name: str, keys: dict[str, int]) -> None:
    """The loss of ragged rows together, NaN behind their ends, is the sum of the losses of each row alone."""
    one, split = task(name, **keys), dataset().train
    assert split.lengths is not None
    x = split.x.clone()
    for row, n in enumerate(split.lengths.tolist()):
        x[row, n:] = float("nan")
    together, count = one.loss({"x": x, "y": split.y, "lengths": split.lengths})
    alone = [
        one.loss({"x": x[i : i + 1, :n], "y": split.y[i : i + 1]})[0] for i, n in enumerate(split.lengths.tolist())
    ]
    assert together.item() == pytest.approx(torch.stack(alone).sum().item(), rel=1e-5)
    assert float(count) == 24


def test_it_learns_labels_and_their_order() -> None:
    one = task("gru")
    history = fit(one, dataset(64), steps=100, lr=2e-2, seed=0, batch_size=32)
    assert history.loss[-1][1] < 0.05 * history.loss[0][1]
    assert evaluate(one, dataset(64).test) == 0


def test_training_begins_with_the_even_path() -> None:
    """Rows of 4 and 5 frames, two labels and one: the loss of that path alone, then of all, in equal parts between."""
    torch.manual_seed(3)
    one, prediction = task(), torch.randn(2, 5, N_OUT, requires_grad=True)
    y = torch.tensor([[1, 2], [2, NOT_ASKED]])
    batch = {"x": torch.zeros(2, 5, 4), "y": y, "lengths": torch.tensor([4, 5])}
    log_p = prediction.detach().log_softmax(-1)
    paths = [[0, 1, 0, 2], [0, 0, 2, 2, 0]]
    path = -sum(float(log_p[row, t, label]) for row in range(2) for t, label in enumerate(paths[row]))
    every = float(one.criterion(prediction, batch)[0].detach())
    one.train()
    for done, expected in ((0.0, path), (0.075, (path + every) / 2), (0.15, every), (1.0, every)):
        one.done = done
        assert float(one.criterion(prediction, batch)[0].detach()) == pytest.approx(expected, rel=1e-5), done
    one.done = 0.1
    one.criterion(prediction, batch)[0].backward()
    assert prediction.grad is not None
    assert float(prediction.grad[0, 4].abs().max()) == 0 < float(prediction.grad[0, 3].abs().min())


def test_the_warm_start_is_a_key() -> None:
    keys = {"d_model": 8, "warm_start": 0}
    one = Order("gru", keys, "two").build(dataset()).train()
    batch = dataset().train.rows(slice(None))
    assert one.identity() == {"ctc": {"warm_start": 0.0}}
    assert float(one.loss(batch)[0].detach()) == pytest.approx(float(one.eval().loss(batch)[0].detach()))
    with pytest.raises(UserError, match="did you mean 'warm_start'"):
        Order("gru", {"warm_strat": 0.1}, "two").build(dataset())


def test_companions_are_intermediate_ctc() -> None:
    """The loss of a hidden output is that of the head on the frames that leave it (Lee & Watanabe 2021)."""
    keys = {"d_model": 8, "n_heads": 2, "n_layers": 2, "subsample": 2, "kernel": 3, "warm_start": 0}
    order = Order("conformer", keys, "two", companions=1)
    supervised, batch = order.build(dataset()), dataset().train.rows(slice(None))
    assert isinstance(supervised, DeeplySupervised)
    one = cast(Ctc, supervised.alone)
    supervised.train()
    supervised.done = 0.25
    assert one.done == 0.25
    with taps(one.backbone, supervised.paths) as seen:
        last = one(batch)
    hidden = supervised.companions[0](seen[supervised.paths[0]].zeroed())
    loss, count = supervised.loss(batch)
    expected = one.criterion(last, batch)[0] + 0.75 * one.criterion(hidden, batch)[0]
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(count) == 24
    assert hidden.shape == last.shape
    loss.backward()
    assert all(p.grad is not None for p in supervised.companions.parameters())
    assert supervised.eval().further([(last, batch)]) == {}


def test_who_cannot_tell_labels_says_why() -> None:
    found = dataset(frames=9)
    short = models.create("conformer", d_model=8, n_heads=2, subsample=4)
    tight = DataSet("tight", "audio", "ctc", *(_cut(s) for s in (found.train, found.dev, found.test)), "", n_classes=3)
    said = "in 2 of 12 rows of tight's training part: row 3 has 1 of 2, row 7 has 1 of 2; subsample less, or leave the"
    with pytest.raises(CannotTake, match=f"gives fewer frames than labels take {said}"):
        make(tight, models.find("conformer"), short)
    with pytest.raises(CannotTake, match="needs examples of one length"):
        make(found, models.find("mlp"), models.create("mlp"))
    with pytest.raises(CannotTake, match="needs images"):
        make(found, models.find("lenet"), models.create("lenet"))
    assert data.check(found) is found


def _cut(split: Split) -> Split:
    """Rows 3 and 7 end behind their first label."""
    lengths = torch.full((len(split),), 9)
    lengths[3], lengths[7] = 4, 3
    return Split(split.x, split.y, lengths)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ([NOT_ASKED, NOT_ASKED], "at least one"),
        ([NOT_ASKED, 1], "behind"),
        ([0, 1], "labels are 1..2"),
        ([3, 1], "1..2"),
    ],
)
def test_rows_of_labels_are_checked(row: list[int], why: str) -> None:
    found = dataset()
    y: Tensor = found.dev.y.clone()
    y[4] = torch.tensor(row)
    wrong = DataSet("two", "audio", "ctc", found.train, Split(found.dev.x, y), found.test, "", n_classes=N_OUT)
    with pytest.raises(ValueError, match=f"two: dev: row 4 is .*{why}"):
        data.check(wrong)
