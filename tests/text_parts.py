"""What the tests of text share: small sentences, a vocabulary of them, files."""

from __future__ import annotations

from pathlib import Path

from lamina.data.vocabulary import Vocabulary

__all__ = ["BAD", "GOOD", "reviews", "story", "vocabulary"]

NOUNS, VERBS = ("cat", "dog", "bird", "fox", "cow", "hen"), ("sees", "likes", "hears", "finds")
GOOD, BAD = ("lovely", "bright", "superb"), ("dull", "awful", "tired")


def sentences() -> list[str]:
    """Who sees whom, and who sees us."""
    whom = [f"the {a} {v} the {b} ." for a in NOUNS for v in VERBS for b in NOUNS if a != b]
    return whom + [f"the {word} {a} sees us ." for word in GOOD + BAD for a in NOUNS]


def vocabulary(size: int = 120) -> Vocabulary:
    return Vocabulary.learn(sentences(), size)


def story(path: Path, times: int = 4) -> Path:
    """A text to pretrain on: documents of ten sentences."""
    lines = sentences() * times
    path.write_text("\n".join("\n".join(lines[at : at + 10]) + "\n" for at in range(0, len(lines), 10)))
    return path


def reviews(path: Path) -> Path:
    """Texts with labels that one word tells, with a first line that names the columns."""
    rows = [f"the {word} {noun} {verb} us\t{label}" for label, words in (("good", GOOD), ("bad", BAD))
            for word in words for noun in NOUNS for verb in VERBS]  # fmt: skip
    path.write_text("\n".join(["text\tlabel", *rows]) + "\n")
    return path
