"""Dates and numbers in words, to be written in digits: a translation whose right answer is known, of any length."""

from __future__ import annotations

import random

from lamina.core.config import UserError
from lamina.data.dataset import DataSet
from lamina.data.pairs import Pair, pairs
from lamina.data.vocabulary import Vocabulary

__all__ = ["dates"]

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
BIG = ("hundred", "thousand")
BETWEEN = "then"  # items of a source, and of a target


def dates(length: int = 20, probes: tuple[int, ...] = (5, 10, 20, 30, 40, 60)) -> DataSet:
    """Lists of dates in three orders and of numbers below a million in words: "march 12 2004 then three hundred seven"
    is "2004 03 12 then 3 0 7".

    Sources have 3 to `length` words, evenly spread. probes: further test parts whose sources have about so many words,
    the last item that still fits being the last.
    """
    if length < 6 or min(probes, default=6) < 5:
        raise UserError(f"dates: length={length} and probes of {min(probes, default=6)} words; at least 6 and 5")
    draw = random.Random(0)
    sizes = {"train": 40_000, "dev": 500, "test": 1000}
    parts = {part: [_pair(draw, draw.randint(3, length)) for _ in range(n)] for part, n in sizes.items()}
    digits = [*map(str, range(10)), *(f"{n:02}" for n in range(1, 32)), *map(str, range(1950, 2050))]
    written = [str(n) for n in range(1, 32) if str(n) not in digits]
    words = [BETWEEN, *MONTHS, *ONES, *TENS, *BIG, *digits, *written]
    longer = {n: [_pair(draw, n, full=True) for _ in range(200)] for n in probes}
    source = f"lists of dates and numbers in words, made; sources of 3 to {length} words"
    return pairs("dates", parts, source, vocabulary=Vocabulary.of_words(words), probes=longer)


def _pair(draw: random.Random, most: int, full: bool = False) -> Pair:
    """Items until no more fits into `most` words; full: not fewer than most - 4 of them."""
    source: list[str] = []
    target: list[str] = []
    misses = 0
    while misses < (50 if full else 3):
        words, digits = (_date if draw.random() < 0.5 else _number)(draw)
        more = [BETWEEN] if source else []
        if len(source) + len(more) + len(words) > most:
            misses += 1
            continue
        source += [*more, *words]
        target += [*more, *digits]
    return (" ".join(source), " ".join(target)) if source else _pair(draw, most, full)


def _date(draw: random.Random) -> tuple[list[str], list[str]]:
    day, month, year = draw.randint(1, 31), draw.randrange(12), str(draw.randint(1950, 2049))
    name = MONTHS[month]
    words = draw.choice(([name, str(day), year], [str(day), name, year], [year, name, str(day)]))
    return list(words), [year, f"{month + 1:02}", f"{day:02}"]


def _number(draw: random.Random) -> tuple[list[str], list[str]]:
    n = int(10 ** draw.uniform(0, 6))
    return _spelled(n), list(str(n))


def _spelled(n: int) -> list[str]:
    """307 -> three hundred seven."""
    if n < 20:
        return [ONES[n]]
    if n < 100:
        return [TENS[n // 10 - 2], *(_spelled(n % 10) if n % 10 else [])]
    unit, word = (100, BIG[0]) if n < 1000 else (1000, BIG[1])
    return [*_spelled(n // unit), word, *(_spelled(n % unit) if n % unit else [])]
