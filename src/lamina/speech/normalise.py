"""Normalisers: what is made of a text before it is scored; a score without its normaliser's name says little."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from lamina.core.config import nearest

__all__ = ["NORMALISERS", "Normaliser", "normalise"]


@dataclass(frozen=True)
class Normaliser:
    """A rule from text to text. version: another number whenever any text comes out otherwise, so that scores that can
    be compared carry the same name and version.
    """

    name: str
    version: int
    rule: Callable[[str], str]

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


def _none(text: str) -> str:
    return text


def _basic(text: str) -> str:
    """Unicode's compatible, folded form; what is no letter, mark, digit or apostrophe is a space; spaces are one."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).replace("\u2019", "'")
    kept = (c if unicodedata.category(c)[0] in "LMN" or c == "'" else " " for c in folded)
    return " ".join("".join(kept).split())


NORMALISERS: dict[str, Normaliser] = {
    "none": Normaliser("none", 1, _none),
    "basic": Normaliser("basic", 1, _basic),
}


def normalise(text: str, name: str) -> str:
    """The text by the normaliser of that name: "none", or "basic", which drops case and punctuation.

    UserError for an unknown name, with the nearest right one.
    """
    if name not in NORMALISERS:
        raise nearest(name, NORMALISERS, "normaliser")
    return NORMALISERS[name].rule(text)
