"""Units, normalisers and scores of a recogniser, beside jiwer, SentencePiece and numbers worked out by hand."""

from __future__ import annotations

import json
import sys
import unicodedata

import jiwer
import pytest
import torch

from lamina.core import UserError
from lamina.speech.normalise import NORMALISERS, normalise
from lamina.speech.score import score
from lamina.speech.units import Units

TEXTS = ["one two three", "four five six", "seven eight nine", "zero one two", "three four five"] * 8


def test_characters_are_numbered_from_one() -> None:
    units = Units.characters(["ba", "c b"])
    assert units.pieces == (" ", "a", "b", "c")
    assert units.encode("ab c") == [2, 3, 1, 4]
    assert units.decode([2, 0, 3, 1, 0, 4]) == "ab c"
    assert [units.starts_word(label) for label in range(5)] == [False, True, False, False, False]
    assert Units.of(json.loads(json.dumps(units.describe()))) == units


def test_pieces_are_sentencepiece_s() -> None:
    """Its own decoder, given its own pieces, agrees; learned again they are the same, and they outlive JSON."""
    sentencepiece = pytest.importorskip("sentencepiece")
    units = Units.learn(TEXTS, 30)
    assert len(units.pieces) <= 30
    peer = sentencepiece.SentencePieceProcessor(model_proto=units.model)
    labels = units.encode("seven five")
    assert [units.pieces[i - 1] for i in labels] == peer.encode("seven five", out_type=str)
    assert units.decode([0, *labels, 0]) == peer.decode(labels) == "seven five"
    assert [units.pieces[i - 1][0] == "▁" for i in labels] == [units.starts_word(i) for i in labels]
    assert sum(units.starts_word(i) for i in labels) == 2
    assert Units.learn(TEXTS, 30) == units == Units.of(json.loads(json.dumps(units.describe())))


def test_pieces_know_the_characters_of_their_texts() -> None:
    pytest.importorskip("sentencepiece")
    units = Units.learn(TEXTS, 30)
    assert units.decode(units.encode("rex oh")) == "rex oh"
    with pytest.raises(
        UserError, match="'jazz': the recogniser knows no 'a', 'j'; its characters are ' efghinorstuvwxz'"
    ):
        units.encode("jazz")


def test_pieces_that_cannot_be_learned_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sentencepiece")
    with pytest.raises(UserError, match=r"2 pieces cannot be learned from 40 texts \(.*\); choose another number"):
        Units.learn(TEXTS, 2)
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(UserError, match=r"run: pip install 'lamina\[text\]'"):
        Units.learn(TEXTS, 30)


def test_strange_characters_are_all_named() -> None:
    with pytest.raises(UserError, match=r"'axbY': the recogniser knows no 'Y', 'x'; its characters are 'ab'"):
        Units.characters(["ab"]).encode("axbY")


@pytest.mark.parametrize(
    ("text", "basic"),
    [
        ("  Hello,   World! ", "hello world"),
        ("Don\u2019t STOP", "don't stop"),
        ("e\u0301tude \u00c9TUDE", "\u00e9tude \u00e9tude"),
        ("Stra\u00dfe 12\u00bd", "strasse 121 2"),
        ("?!", ""),
    ],
)
def test_basic_drops_case_and_punctuation(text: str, basic: str) -> None:
    found = normalise(text, "basic")
    assert found == basic
    assert found == normalise(found, "basic") == unicodedata.normalize("NFC", found)
    assert normalise(text, "none") == text


def test_normalisers_have_names_and_versions() -> None:
    assert [str(one) for one in NORMALISERS.values()] == ["none/1", "basic/1"]
    with pytest.raises(UserError, match="unknown normaliser 'bacic'; did you mean 'basic'"):
        normalise("a", "bacic")


def test_errors_are_counted_over_the_corpus() -> None:
    """One of each kind among six words; characters counted by hand: "too"/"two" 1, " three" 6, " six" 4 of 27."""
    said = ["one two three", "four five", "eight"]
    heard = ["One, too", "four five six", "eight"]
    found = score(said, heard)
    wer, cer = found.wer, found.cer
    assert (wer.substitutions, wer.insertions, wer.deletions, wer.reference) == (1, 1, 1, 6)
    assert (cer.substitutions, cer.insertions, cer.deletions, cer.reference) == (1, 4, 6, 27)
    assert (wer.rate, cer.rate) == (3 / 6, 11 / 27)
    assert (found.normaliser, found.utterances) == ("basic/1", 3)
    plain = score(said, heard, "none")
    assert plain.wer.substitutions == 2
    assert plain.normaliser == "none/1"


def test_scores_are_jiwer_s() -> None:
    """Random rows of words, spaces of one kind: jiwer's own corpus rates."""
    generator = torch.Generator().manual_seed(0)

    def text(least: int) -> str:
        n = int(torch.randint(least, 9, (1,), generator=generator))
        return " ".join(["abba", "ab", "ba", "b"][i] for i in torch.randint(4, (n,), generator=generator))

    said, heard = [text(1) for _ in range(30)], [text(0) for _ in range(30)]
    found = score(said, heard, "none")
    assert found.wer.rate == pytest.approx(jiwer.wer(said, heard), abs=1e-12)
    assert found.cer.rate == pytest.approx(jiwer.cer(said, heard), abs=1e-12)
    assert found.wer.low < found.wer.rate < found.wer.high


def test_the_interval_is_that_of_redrawn_utterances() -> None:
    """400 utterances of 10 words, each wholly right or wholly wrong: a binomial share, known in closed form."""
    said = ["a b c d e f g h i j"] * 400
    heard = ["a b c d e f g h i j"] * 300 + [""] * 100
    wer = score(said, heard).wer
    deviation = (0.25 * 0.75 / 400) ** 0.5
    assert wer.rate == 0.25
    assert wer.low == pytest.approx(0.25 - 1.96 * deviation, abs=0.006)
    assert wer.high == pytest.approx(0.25 + 1.96 * deviation, abs=0.006)
    assert score(said, heard) == score(said, heard)
    assert score(said, heard, seed=1).wer != wer
    alone = score(["a b"], ["a c"]).wer
    assert (alone.low, alone.rate, alone.high) == (0.5, 0.5, 0.5)


def test_an_empty_reference_counts_insertions() -> None:
    found = score(["a", "..."], ["a", "b c"]).wer
    assert (found.insertions, found.reference, found.rate) == (2, 1, 2.0)


@pytest.mark.parametrize(
    ("said", "heard", "why"),
    [
        (["a"], [], "1 references and 0 texts"),
        (["!"], ["a"], "hold no word once they are normalised"),
        ([], [], "no word"),
    ],
)
def test_what_cannot_be_scored_is_said(said: list[str], heard: list[str], why: str) -> None:
    with pytest.raises(UserError, match=why):
        score(said, heard)
