"""Forced alignment against every path, words and their times, and the ends of utterances."""

from __future__ import annotations

from itertools import groupby, product

import pytest
import torch

from lamina.core import UserError
from lamina.speech import Units
from lamina.speech.decode import Label, PrefixBeam, Word, align, words


@pytest.mark.parametrize("labels", [[1], [1, 2], [2, 2], [1, 2, 1], [1, 1, 2]])
@pytest.mark.parametrize("frames", [5, 6])
def test_the_alignment_is_the_likeliest_path(labels: list[int], frames: int) -> None:
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        rows = (2 * torch.randn(frames, 3, generator=generator, dtype=torch.float64)).log_softmax(-1)
        paths = [p for p in product(range(3), repeat=frames) if [k for k, _ in groupby(p) if k] == labels]
        best = max(paths, key=lambda path: float(rows[range(frames), list(path)].sum()))
        wanted, t = [], 0
        for label, run in groupby(best):
            n = len(list(run))
            if label:
                wanted.append(Label(label, t, pytest.approx(float(rows[t : t + n, label].exp().max())), n))
            t += n
        assert align(rows, labels) == wanted


def test_alignments_that_cannot_be() -> None:
    rows = torch.full((3, 3), 1 / 3).log()
    assert align(rows, []) == []
    assert align(rows[:0], []) == []
    with pytest.raises(UserError, match="2 frames cannot hold these 2 labels, which take 3"):
        align(rows[:2], [1, 1])
    with pytest.raises(UserError, match=r"label 3 is none of 1\.\.2"):
        align(rows, [1, 3])
    ruled_out = rows.clone()
    ruled_out[:, 2] = -torch.inf
    with pytest.raises(UserError, match="no path of 3 frames gives these 1 labels"):
        align(ruled_out, [2])


LETTERS = Units((" ", "a", "b", "c"))


def heard(units: Units, *pieces: tuple[str, int, float]) -> list[Label]:
    return [Label(1 + units.pieces.index(piece), frame, p) for piece, frame, p in pieces]


def test_words_of_letters() -> None:
    labels = heard(LETTERS, (" ", 1, 0.1), ("a", 2, 0.9), ("b", 5, 0.7), (" ", 8, 0.2), (" ", 9, 0.2), ("c", 10, 0.6))
    assert words(labels, LETTERS, 0.04) == [
        Word("ab", pytest.approx(0.08), pytest.approx(0.24), 0.7),
        Word("c", pytest.approx(0.40), pytest.approx(0.44), 0.6),
    ]
    assert words([], LETTERS, 0.04) == []
    assert words(labels[:1], LETTERS, 0.04) == []


def test_words_of_pieces() -> None:
    units = Units(("▁the", "▁c", "at", "▁"), b"any")
    labels = heard(units, ("▁the", 0, 0.9), ("▁c", 3, 0.8), ("at", 4, 0.5), ("▁", 7, 0.3), ("at", 9, 0.4))
    assert [(one.text, one.confidence) for one in words(labels, units, 1.0)] == [
        ("the", 0.9), ("cat", 0.5), ("at", 0.4),
    ]  # fmt: skip


def test_a_run_of_frames_is_a_labels_time() -> None:
    assert words([Label(2, 3, 0.9, frames=4)], LETTERS, 0.1) == [Word("a", pytest.approx(0.3), pytest.approx(0.7), 0.9)]


def test_words_of_a_decoder() -> None:
    path = [0, 2, 2, 0, 3, 1, 0, 0, 4, 0]
    rows = (9 * torch.nn.functional.one_hot(torch.tensor(path), 5).double()).log_softmax(-1)
    found = words(PrefixBeam(5).whole(rows), LETTERS, 1.0)
    assert [(one.text, one.start, one.end) for one in found] == [("ab", 1, 5), ("c", 8, 9)]
    assert [(one.text, one.start, one.end) for one in words(align(rows, [2, 3, 1, 4]), LETTERS, 1.0)] == [
        ("ab", 1, 5), ("c", 8, 9),
    ]  # fmt: skip
