"""Token data: every label is what a hand-written solver finds, streams depend on (seed, step), parts share no row."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lamina import data
from lamina.core import UserError
from lamina.data import NOT_ASKED, Split, batches, check, named

NAMES = [
    "copy:length=30,tokens=5,vocab=9", "induction:length=40", "mqar:pairs=6,length=40,vocab=32",
    "mqar:pairs=1+3+8,length=32,vocab=24", "parity:length=40", "parity:length=40,every=0",
    "modular:modulus=3,symbols=2", "modular:modulus=5,symbols=5,length=30",
]  # fmt: skip


def copied(x: list[int], options: dict) -> dict[int, int]:
    """The tokens in order, one a marker."""
    marker = options["vocab"] - 1
    kept = [token for token in x if token not in (0, marker)]
    asked = [t for t, token in enumerate(x) if token == marker]
    assert len(kept) == len(asked) == options["tokens"]
    return dict(zip(asked, kept, strict=True))


def induced(x: list[int], options: dict) -> dict[int, int]:
    """What stood behind the special token the first time."""
    special = 15
    assert [t for t, token in enumerate(x) if token == special] == [x.index(special), len(x) - 1]
    return {len(x) - 1: x[x.index(special) + 1]}


def recalled(x: list[int], options: dict) -> dict[int, int]:
    """A dictionary: the first value behind a key is its own, the second time the key is a question."""
    half, bound, found = options["vocab"] // 2, {}, {}
    for t, token in enumerate(x):
        if token < half and token in bound:
            found[t] = bound[token]
        elif token < half:
            bound[token] = x[t + 1]
    assert set(bound.values()) <= set(range(half, 2 * half))
    assert len(found) == len(bound)
    return found


def tracked(x: list[int], options: dict) -> dict[int, int]:
    sums = {t: sum(x[: t + 1]) % options.get("modulus", 2) for t in range(len(x))}
    return sums if options.get("every", 1) else {len(x) - 1: sums[len(x) - 1]}


SOLVERS = {"copy": copied, "induction": induced, "mqar": recalled, "parity": tracked, "modular": tracked}


@pytest.mark.parametrize("name", NAMES)
def test_a_solver_by_hand_gives_every_label(name: str) -> None:
    dataset = data.load(name)
    key, options = named.parse(name, data.DATA)
    for split in (dataset.train, dataset.dev, dataset.test, *dataset.probes.values()):
        for x, y in zip(split.x[:100].tolist(), split.y[:100].tolist(), strict=True):
            answers = SOLVERS[key](x, options)
            assert y == [answers.get(t, NOT_ASKED) for t in range(len(x))]


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_depends_on_seed_and_step_and_never_repeats_a_part(name: str) -> None:
    dataset = data.load(name)
    assert data.load(name).digest == dataset.digest
    assert dataset.name == name.replace(",symbols=5", "").replace("modulus=5,", "")  # defaults are left out
    source = batches(dataset, 16, seed=1)
    first = source(3)
    source(0)
    again = batches(data.load(name), 16, seed=1)(3)
    assert all(torch.equal(first[key], again[key]) for key in ("x", "y"))
    assert not torch.equal(first["x"], source(4)["x"])
    assert not torch.equal(first["x"], batches(dataset, 16, seed=2)(3)["x"])
    parts = [{tuple(row) for row in split.x.tolist()} for split in (dataset.train, dataset.dev, dataset.test)]
    parts.append({tuple(row) for step in range(50) for row in source(step)["x"].tolist()})
    for i, one in enumerate(parts):
        assert not any(one & other for other in parts[i + 1 :])


def test_recall_asks_near_keys_more_often_than_far_ones() -> None:
    split = data.load("mqar:pairs=4,length=128").train
    places = (split.y != NOT_ASKED).nonzero()[:, 1]
    assert torch.all(places % 2 == 0)
    assert places.min() >= 8
    assert (places < 38).float().mean() > 1.5 * (30 / 120)  # a power law, not level
    assert torch.equal((split.y != NOT_ASKED).sum(1), torch.full((512,), 4))


def test_numbers_of_pairs_take_turns_and_each_is_a_test_part() -> None:
    dataset = data.load("mqar:pairs=2+4+8,length=32,vocab=32")
    asked = (dataset.train.y != NOT_ASKED).sum(1)
    assert torch.equal(asked, torch.tensor([2, 4, 8]).repeat(171)[:512])
    assert {n: int((part.y != NOT_ASKED).sum(1).unique()) for n, part in dataset.probes.items()} == {2: 2, 4: 4, 8: 8}
    assert dataset.probe == "key-value pairs"


def test_longer_parts_have_the_lengths_asked_for() -> None:
    assert [part.x.shape[1] for part in data.load("induction:length=16,longer=32+64").probes.values()] == [32, 64]
    assert [part.x.shape[1] for part in data.load("copy:length=16,tokens=4,longer=24").probes.values()] == [28]
    assert [part.x.shape[1] for part in data.load("parity:length=16,longer=40").probes.values()] == [40]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mqar:pair=4", "mqar:pair=4: unknown option 'pair'; did you mean 'pairs'?"),
        ("mqr:pairs=4", "unknown data set 'mqr'; did you mean 'mqar'?"),
        ("mqar:pairs=four", "mqar:pairs=four: pairs='four' must be numbers such as 4+8+16"),
        ("mqar:length=4+8", "mqar:length=4+8: length='4+8' must be a whole number"),
        ("mqar:length=-4", "mqar:length=-4: length='-4' must be a whole number"),
        ("mqar:pairs", "mqar:pairs: 'pairs' is not KEY=VALUE; write it like mqar:pairs=16"),
        ("mqar:pairs=4,pairs=8", "mqar:pairs=4,pairs=8: pairs stands there twice; give it once"),
        ("mqar:pairs=4+4", "mqar: pairs=4+4; a number stands there twice"),
        ("mqar:pairs=33", "mqar: length=128; it must be at least 132"),
        ("mqar:vocab=31", "mqar: vocab=31; it must be at least 32"),
        ("mqar:vocab=33", "mqar: vocab=33; it must be even, half keys and half values"),
        ("copy:tokens=300", "copy: length=256; it must be at least 300"),
        ("induction:longer=2", "induction: longer=2; it must be at least 3"),
        ("parity:every=2", "parity: every=2; 1 asks at every frame, 0 at the last one"),
        ("digits:size=8", "digits:size=8: digits takes no options; give digits"),
    ],
)
def test_a_name_that_says_what_cannot_be(name: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        data.load(name)
    assert str(error.value) == message


def test_a_name_is_spelled_in_one_way() -> None:
    assert data.load("MQAR:length=64,pairs=8").name == "mqar:pairs=8,length=64"
    assert data.where("mqar:vocab=256,pairs=16") == "mqar"
    assert data.load("adding:frames=20,seed=3").digest == data.synthetic.adding(20, 3).digest
    assert data.where("some/where/my.txt").endswith("/some/where/my.txt")


def test_token_parts_are_checked() -> None:
    good = data.load("parity:length=4")
    x, y = good.train.x.clone(), good.train.y
    x[3, 1] = 2
    for split, message in (
        (Split(x, y), r"parity:length=4: train: x holds 0\.\.2; it must be 0\.\.1"),
        (Split(y, y - 2), r"train: y holds -2\.\.-1; it must be -1\.\.1"),
        (Split(y, torch.full_like(y, NOT_ASKED)), "train: nothing is asked; give at least one target"),
        (Split(y, y[:, 0]), r"y has shape \(512,\), x \(512, 4\); give each frame a target, or -1"),
    ):
        with pytest.raises(UserError, match=message):
            check(replace(good, train=split))


def test_describe_says_that_training_examples_are_fresh() -> None:
    found = data.load("mqar").describe()
    assert (found["train"], found["dev"], found["test"]) == ("fresh examples at every step", 512, 2048)
    assert (found["kind"], found["task"], found["classes"], found["shape"]) == ("tokens", "answer", 256, [128])
