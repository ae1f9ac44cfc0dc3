"""N-gram models from ARPA files, and what they and hot words do in the beam, against enumeration and KenLM."""

from __future__ import annotations

import gzip
import math
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor

from decode_parts import by_enumeration, log_p
from lamina.core import UserError
from lamina.speech import Units
from lamina.speech.decode import Fusion, NGram, PrefixBeam

ARPA = """
\\data\\
ngram 1=6
ngram 2=5
ngram 3=2

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.3
-0.7\t</s>
-0.9\tab\t-0.2
-1.1\tb\t-0.4
-1.3\tba\t-0.1

\\2-grams:
-0.4\t<s> ab\t-0.15
-0.6\tab b\t-0.25
-0.5\tb ba
-0.8\tba </s>
-0.3\tb </s>

\\3-grams:
-0.2\t<s> ab b
-0.1\tab b </s>

\\end\\
"""
LN10 = math.log(10)


LETTERS = Units((" ", "a", "b"))


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    path = tmp_path / "small.arpa"
    path.write_text(ARPA)
    return path


def test_a_model_by_hand(arpa: Path) -> None:
    """Each number from the file: known, backed off once, twice, and a word that is in none."""
    model = NGram.read(arpa)
    assert model.order == 3
    wanted = {
        ("ab", "b"): [-0.4, -0.2, -0.1],
        ("ab", "ba"): [-0.4, -0.15 - 0.2 - 1.3, -0.8],
        ("b", "ba", "b"): [-0.3 - 1.1, -0.5, -0.1 - 1.1, -0.3],
        ("zz", "ab"): [-0.3 - 1.0, -0.9, -0.2 - 0.7],
        (): [-0.3 - 0.7],
    }
    for words, numbers in wanted.items():
        assert model.log_p(words) == pytest.approx([LN10 * n for n in numbers]), words


def test_it_agrees_with_kenlm(arpa: Path) -> None:
    kenlm = pytest.importorskip("kenlm", reason="pip install kenlm builds it from source")
    theirs, ours = kenlm.Model(str(arpa)), NGram.read(arpa)
    for n in range(5):
        for words in product(("ab", "b", "ba", "zz"), repeat=n):
            scores = [LN10 * score for score, *_ in theirs.full_scores(" ".join(words))]
            assert ours.log_p(words) == pytest.approx(scores, abs=1e-5), words


def test_compressed_and_without_an_unknown_word(arpa: Path, tmp_path: Path) -> None:
    packed = tmp_path / "small.arpa.gz"
    packed.write_bytes(gzip.compress(arpa.read_bytes()))
    assert NGram.read(packed).log_p(["ab", "zz"]) == NGram.read(arpa).log_p(["ab", "zz"])
    arpa.write_text(ARPA.replace("ngram 1=6", "ngram 1=5").replace("-1.0\t<unk>\n", ""))
    assert NGram.read(arpa).log_p(["zz"])[0] == pytest.approx(LN10 * (-0.3 - 100))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\\data\\", "data", "has no line .data.; give an n-gram model in the ARPA format"),
        ("ngram 2=5", "ngram 3=5", r":4: 'ngram 3=5' where 'ngram 2=COUNT' should stand"),
        ("ngram 2=5", "ngram 2=4", r":22: 5 2-grams end here, the head says 4"),
        ("-1.1\tb\t-0.4", "-1.1\tb\t-0.4\t7", r":12: 4 fields; a 1-gram has log10 p, 1 words, perhaps a backoff"),
        ("-1.1\tb\t-0.4", "x\tb\t-0.4", r":12: 'x.*: its logarithms are no numbers"),
        ("-1.1\tb\t-0.4", "0.1\tb\t-0.4", r":12: log10 p 0.1, backoff -0.4: p is at most 1"),
        ("-1.1\tb\t-0.4", "-1.1\tb\tnan", r":12: log10 p -1.1, backoff nan"),
        ("-1.3\tba", "-1.3\tab", r":13: the word 'ab' stands here again"),
        ("-0.5\tb ba", "-0.5\tb bx", r":18: the word 'bx' is no 1-gram; add it there"),
        ("-0.5\tb ba", "-0.5\tab b", r":18: this 2-gram stands here again"),
        ("<s> ab b", "b b b", r":23: the first 2 words of this 3-gram are no 2-gram; add it"),
        ("\\end\\", "", r"ends within its 3-grams, without .*end"),
        ("\\3-grams:", "\\4-grams:", r":22: '.*4-grams:' where '.*3-grams:' should stand"),
    ],
)
def test_files_that_are_no_models(arpa: Path, old: str, new: str, message: str) -> None:
    arpa.write_text(ARPA.replace(old, new))
    with pytest.raises(UserError, match=message):
        NGram.read(arpa)


def test_files_that_cannot_be_read(arpa: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        NGram.read(tmp_path / "none.arpa")
    broken = tmp_path / "broken.gz"
    broken.write_bytes(gzip.compress(ARPA.encode())[:100])
    with pytest.raises(UserError, match="gzip cannot unpack it"):
        NGram.read(broken)
    arpa.write_bytes(ARPA.replace("ba", "bä").encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        NGram.read(arpa)


def labellings(rows: Tensor) -> dict[tuple[int, ...], float]:
    """ln p of every labelling."""
    return {labels: math.log(one) for labels, one in by_enumeration(rows).items()}


def found_by(fusion: Fusion, rows: Tensor) -> tuple[int, ...]:
    decoder = PrefixBeam(rows.shape[1], 512, fusion=fusion)
    state, found = decoder.init_state(), []
    for row in rows:
        labels, state = decoder.step(row[None], state)
        found += labels
    found += decoder.finish(state)
    assert found == decoder.whole(rows)
    return tuple(one.label for one in found)


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.0), (0.7, 0.0), (1.5, 2.0), (1.0, -1.0)])
def test_the_best_text_under_a_model_of_words(arpa: Path, alpha: float, beta: float) -> None:
    model, changed = NGram.read(arpa), 0
    for seed in range(12):
        rows = log_p(5, 4, seed)
        ways = labellings(rows)
        scores = {}
        for labels, one in ways.items():
            words = LETTERS.decode(labels).split()
            scores[labels] = one + alpha * sum(model.log_p(words)) + beta * len(words)
        best = max(scores, key=scores.__getitem__)
        assert found_by(Fusion(LETTERS, model, alpha=alpha, beta=beta), rows) == best
        changed += best != max(ways, key=ways.__getitem__)
    assert changed >= 5 or not alpha


@pytest.mark.parametrize(("alpha", "beta"), [(0.7, 0.0), (1.5, 1.0)])
def test_the_best_text_under_a_model_of_labels(tmp_path: Path, alpha: float, beta: float) -> None:
    path = tmp_path / "letters.arpa"
    path.write_text(ARPA.replace("ab", "A").replace("ba", "▁").replace("A", "a"))
    model, names = NGram.read(path), {" ": "▁"}
    for seed in range(12):
        rows = log_p(5, 4, seed)
        scores = {}
        for labels, one in labellings(rows).items():
            tokens = [LETTERS.pieces[label - 1] for label in labels]
            scores[labels] = one + alpha * sum(model.log_p([names.get(t, t) for t in tokens])) + beta * len(tokens)
        best = max(scores, key=scores.__getitem__)
        assert found_by(Fusion(LETTERS, model, of="labels", alpha=alpha, beta=beta), rows) == best


def test_pieces_spell_the_same_words_in_many_ways(arpa: Path) -> None:
    """ "ab" is "▁ab" or "▁a b": both are the model's word."""
    units, model = Units(("▁ab", "▁a", "b", "▁b"), b"any"), NGram.read(arpa)
    for seed in range(12):
        rows = log_p(4, 5, seed)
        scores = {}
        for labels, one in labellings(rows).items():
            scores[labels] = one + 2.0 * sum(model.log_p(units.decode(labels).split()))
        assert found_by(Fusion(units, model, alpha=2.0), rows) == max(scores, key=scores.__getitem__)


@pytest.mark.parametrize("of", ["none", "words", "labels"])
def test_hot_words_add_their_bonus_when_they_are_whole(arpa: Path, tmp_path: Path, of: str) -> None:
    path = tmp_path / "letters.arpa"
    path.write_text(ARPA.replace("ab", "A").replace("ba", "▁").replace("A", "a"))
    model = {"none": None, "words": NGram.read(arpa), "labels": NGram.read(path)}[of]
    hot, bonus, raised = ("aa", "bab"), 2.5, 0
    for seed in range(12):
        rows = log_p(6, 4, seed)
        ways, scores = labellings(rows), {}
        for labels, one in ways.items():
            text = [LETTERS.pieces[label - 1] for label in labels]
            words = "".join(text).split()
            scores[labels] = one + bonus * sum(word in hot for word in words)
            if model is not None:
                said = words if of == "words" else ["▁" if letter == " " else letter for letter in text]
                scores[labels] += 0.3 * sum(model.log_p(said))
        best = max(scores, key=scores.__getitem__)
        fusion = Fusion(LETTERS, model, of="labels" if of == "labels" else "words", alpha=0.3, hot=hot, bonus=bonus)
        assert found_by(fusion, rows) == best
        raised += any(word in hot for word in LETTERS.decode(best).split())
    assert raised >= 4


def test_a_narrow_beam_keeps_a_hot_word_that_begins_badly() -> None:
    """Without its share of the bonus for a part, "bab" would leave a beam of two before it is whole."""
    p = torch.tensor([[0.02, 0.01, 0.67, 0.3], [0.02, 0.01, 0.3, 0.67], [0.02, 0.01, 0.67, 0.3]])
    plain = [one.label for one in PrefixBeam(4, 2).whole(p.log())]
    hot = [one.label for one in PrefixBeam(4, 2, fusion=Fusion(LETTERS, hot=("bab",), bonus=6.0)).whole(p.log())]
    assert (plain, hot) == ([2, 3, 2], [3, 2, 3])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"alpha": -1.0}, "alpha -1, bonus 3: neither may be below 0"),
        ({"of": "word"}, "of='word': a language model is of words or of labels"),
        ({"hot": ("aB",)}, "hot word 'aB': no unit has 'B'"),
        ({"hot": ("a b",)}, "hot word 'a b': a space ends a word"),
        ({"hot": ("",)}, "hot word '': it is empty"),
    ],
)
def test_settings_that_do_not_fit(keys: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PrefixBeam(4, fusion=Fusion(LETTERS, **keys)).whole(log_p(3, 4, 0))  # type: ignore[arg-type]


def test_models_that_do_not_fit(arpa: Path) -> None:
    model = NGram.read(arpa)
    capitals = Units((" ", "A", "B"))
    with pytest.raises(UserError, match=r"no word of it can be spelled with the 3 units.*capitals too"):
        PrefixBeam(4, fusion=Fusion(capitals, model))
    with pytest.raises(UserError, match="no piece of it is among the 3 units"):
        PrefixBeam(4, fusion=Fusion(capitals, model, of="labels"))
    with pytest.raises(UserError, match="the fusion has 3 units, the network 5 labels"):
        PrefixBeam(6, fusion=Fusion(LETTERS, model))
    with pytest.raises(UserError, match="leaves no hypothesis"):
        PrefixBeam(4, 2, fusion=Fusion(LETTERS, model, of="labels", alpha=1e6)).whole(
            torch.tensor([[-torch.inf, 0.0, -torch.inf, -torch.inf]])
        )
