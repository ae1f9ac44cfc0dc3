"""Best path and prefix beam search against every path written out; streams, states and their bounds."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from decode_parts import by_enumeration, log_p
from lamina.core import UserError
from lamina.speech.decode import BestPath, Decoder, Label, PrefixBeam

SIZES = [(1, 5), (2, 4), (3, 4), (4, 3), (5, 3), (7, 2)]


def streamed(decoder: Decoder, rows: Tensor, sizes: list[int]) -> list[Label]:
    found: list[Label] = []
    state = decoder.init_state()
    for part in rows.split(sizes):
        labels, state = decoder.step(part, state)
        found += labels
    return found + decoder.finish(state)


@pytest.mark.parametrize(("frames", "n_out"), SIZES)
@pytest.mark.parametrize("sharp", [0.3, 1.0, 3.0])
def test_the_most_probable_labelling_is_found(frames: int, n_out: int, sharp: float) -> None:
    for seed in range(12):
        rows = log_p(frames, n_out, seed, sharp)
        truth = by_enumeration(rows)
        found = PrefixBeam(n_out, beam=len(truth)).whole(rows)
        assert tuple(one.label for one in found) == max(truth, key=truth.__getitem__)


def test_it_is_not_the_best_path() -> None:
    """Two frames, blank 0.6 and label 0.4 each: the best path is two blanks, 0.36, but the label has 0.64."""
    rows = torch.tensor([[0.6, 0.4]] * 2).log()
    assert BestPath().whole(rows) == []
    assert [one.label for one in PrefixBeam(2).whole(rows)] == [1]


@pytest.mark.parametrize(("frames", "n_out"), SIZES)
def test_the_masses_are_the_probabilities(frames: int, n_out: int) -> None:
    """Every hypothesis against enumeration: what the tree holds for each prefix, up to one factor."""
    rows = log_p(frames, n_out, 7)
    truth = by_enumeration(rows)
    decoder = PrefixBeam(n_out, beam=len(truth))
    _, state = decoder.step(rows, decoder.init_state())
    nodes, found = state["nodes"].tolist(), {}
    for place in range(int(state["at"][0])):
        node, labels = int(state["live"][place]), list[int]()
        while node != 0:
            labels.insert(0, nodes[node][1])
            node = nodes[node][0]
        found[tuple(labels)] = float(state["mass"][place].sum())
    assert found.keys() == truth.keys()
    scale = sum(found.values())
    for labels, p in truth.items():
        assert found[labels] / scale == pytest.approx(p, rel=1e-12)


def cases() -> list[tuple[str, Decoder]]:
    return [
        ("best", BestPath()),
        ("beam", PrefixBeam(9, 8)),
        ("short", PrefixBeam(9, 8, wait=3)),
        ("one", PrefixBeam(9, 1)),
    ]


@pytest.mark.parametrize(("name", "decoder"), cases())
@pytest.mark.parametrize("sharp", [0.3, 4.0])
def test_every_split_gives_the_same(name: str, decoder: Decoder, sharp: float) -> None:
    rows = log_p(120, 9, 3, sharp)
    whole = decoder.whole(rows)
    assert len(whole) > 20
    for sizes in ([1] * 120, [0, 7, 0, 50, 1, 62, 0], [119, 1]):
        assert streamed(decoder, rows, sizes) == whole


@pytest.mark.parametrize(("name", "decoder"), cases())
def test_pending_is_how_it_would_end_here(name: str, decoder: Decoder) -> None:
    rows, state, found = log_p(60, 9, 4), decoder.init_state(), list[Label]()
    for t in range(60):
        labels, state = decoder.step(rows[t : t + 1], state)
        found += labels
        assert [one.label for one in found + decoder.pending(state)] == [
            one.label for one in decoder.whole(rows[: t + 1])
        ]
        assert decoder.pending(state) == decoder.finish(state)


@pytest.mark.parametrize(("name", "decoder"), cases())
@pytest.mark.parametrize("sharp", [0.01, 1.0])
def test_the_state_is_a_value_of_constant_size(name: str, decoder: Decoder, sharp: float) -> None:
    rows, state = log_p(2000, 9, 5, sharp), decoder.init_state()
    form = {key: (t.shape, t.dtype) for key, t in state.items()}
    before = {key: t.clone() for key, t in state.items()}
    decoder.step(rows[:50], state)
    assert all(torch.equal(t, before[key]) for key, t in state.items())
    for part in rows.split(500):
        _, state = decoder.step(part, state)
        assert {key: (t.shape, t.dtype) for key, t in state.items()} == form
    assert len(decoder.pending(state)) <= 16 * 8


def test_the_bytes_are_those_stated() -> None:
    assert sum(t.nbytes for t in PrefixBeam(9, 32).init_state().values()) == 788 * 32 + 48
    assert sum(t.nbytes for t in BestPath().init_state().values()) == 40


@pytest.mark.parametrize(("beam", "wait", "sharp"), [(8, 100, 0.01), (8, 3, 1.0), (1, 100, 1.0), (32, 100, 3.0)])
def test_no_node_of_the_tree_is_lost(beam: int, wait: int, sharp: float) -> None:
    """Every node is free, or leads from the committed prefix to a hypothesis; each once."""
    decoder, rows = PrefixBeam(9, beam, wait=wait), log_p(600, 9, 6, sharp)
    state = decoder.init_state()
    for part in rows.split(7):
        _, state = decoder.step(part, state)
        nodes, (count, root, free, spare, *_) = state["nodes"].tolist(), state["at"].tolist()
        unused, live = set[int](), set(state["live"][:count].tolist())
        while free not in unused and free >= 0 and len(unused) < spare:
            unused.add(free)
            free = nodes[free][3]
        below, used = [root], set[int]()
        while below:
            node = below.pop()
            used.add(node)
            child = nodes[node][2]
            assert child >= 0 or node in live
            while child >= 0:
                assert nodes[child][0] == node
                below.append(child)
                child = nodes[child][3]
        assert len(unused) == spare >= beam
        assert live <= used
        assert not used & unused
        assert len(used) + len(unused) == len(nodes)


def test_what_all_hypotheses_share_is_final() -> None:
    """A certain label is final at once; an open choice is not, until the wait is over; then the likelier stays."""
    certain = torch.tensor([[0.0, 1.0, 0.0]])
    blank, either = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.6, 0.4]])
    decoder = PrefixBeam(3, wait=10)
    found, state = decoder.step(torch.cat([certain, blank]).log(), decoder.init_state())
    assert found == [Label(1, 0, 1.0)]
    found, state = decoder.step(torch.cat([either, *[blank] * 8]).log(), state)
    assert found == []
    assert decoder.pending(state) == [Label(1, 2, pytest.approx(0.6))]
    found, state = decoder.step(blank.log(), state)
    assert found == [Label(1, 2, pytest.approx(0.6))]
    assert int(state["at"][0]) == 1


def test_frames_are_where_a_label_is_likeliest() -> None:
    """Label 1 creeps in at frame 1 and is said at frame 3; label 2 is said at frame 6."""
    p = torch.full((8, 3), 0.001)
    p[1, 1], p[3, 1], p[6, 2] = 0.05, 0.9, 0.8
    p[:, 0] = 1 - p[:, 1:].sum(1)
    for decoder in (PrefixBeam(3), BestPath()):
        found = decoder.whole(p.log())
        assert [(one.label, one.frame) for one in found] == [(1, 3), (2, 6)]
        assert [one.confidence for one in found] == pytest.approx([0.9, 0.8])


def test_frames_never_go_back() -> None:
    for seed in range(20):
        found = PrefixBeam(6, 4, wait=5).whole(log_p(200, 6, seed, 0.5))
        assert all(a.frame <= b.frame for a, b in pairwise(found))


def test_best_path_gives_the_run_and_its_peak() -> None:
    p = torch.tensor([[0.1, 0.9, 0], [0.3, 0.7, 0], [0.9, 0.1, 0], [0.4, 0.6, 0], [0, 0.2, 0.8]])
    assert BestPath().whole(p.log()) == [
        Label(1, 0, pytest.approx(0.9), 2), Label(1, 3, pytest.approx(0.6), 1), Label(2, 4, pytest.approx(0.8), 1),
    ]  # fmt: skip


def test_impossible_classes_and_narrow_rows() -> None:
    rows = torch.tensor([[0.0, -torch.inf, -torch.inf], [-torch.inf, 0.0, -torch.inf]] * 3)
    for decoder in (PrefixBeam(3), BestPath()):
        assert [one.label for one in decoder.whole(rows)] == [1, 1, 1]
        assert [one.label for one in decoder.whole(rows.half())] == [1, 1, 1]
        assert decoder.whole(rows[:0]) == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.zeros(3, 4), r"\[3, 4\] do not fit \[T,3\]"),
        (torch.zeros(1, 3, 3), r"do not fit \[T,3\]; give one stream's"),
        (torch.tensor([[-1.0, -1, -1], [0.5, -2, -3]]), "frame 1 of 2: its largest value is 0.5.*log_softmax"),
        (torch.tensor([[-1.0, torch.nan, -1]]), "frame 0 of 1: its largest value is nan"),
        (torch.full((1, 3), -torch.inf), "frame 0 of 1: its largest value is -inf"),
    ],
)
def test_what_is_no_log_probability_is_refused(rows: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        PrefixBeam(3).whole(rows)
    if rows.shape[-1] == 3:  # the best path is of any number of classes
        with pytest.raises(UserError, match=message.replace("T,3", "T,n_out")):
            BestPath().whole(rows)


@pytest.mark.parametrize("keys", [{"n_out": 1}, {"beam": 0}, {"wait": 0}])
def test_settings_that_cannot_be_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="give at least"):
        PrefixBeam(**{"n_out": 3, **keys})


def test_many_classes() -> None:
    """More labels than a frame's hypotheses are extended by: still no wider beam does better than itself."""
    rows = log_p(40, 500, 1, 6.0)
    assert [one.label for one in PrefixBeam(500, 32).whole(rows)] == [
        one.label for one in PrefixBeam(500, 256).whole(rows)
    ]
