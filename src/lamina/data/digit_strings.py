"""Spoken digit strings: isolated digits of one speaker joined with random silences, recorded or synthesised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor

from lamina.core.config import UserError
from lamina.data.audio import resampled
from lamina.data.backgrounds import read_backgrounds
from lamina.data.dataset import DataSet
from lamina.data.espeak import Voice, say
from lamina.data.hearing import Hearing
from lamina.data.manifest import PARTS, read_manifest
from lamina.data.ragged import Ragged
from lamina.data.shared import shared
from lamina.data.speech import BLANK, written
from lamina.data.tokens import at_least
from lamina.data.vary import drawn, faster, with_noise

__all__ = [
    "LOUD",
    "RATE",
    "Clips",
    "digit_strings",
    "espeak_strings",
    "joined",
    "judged",
    "levelled",
    "recorded",
    "said",
]

RATE = 8000
FEWEST, MOST = 3, 7  # digits of a string
PAUSE = (0.05, 0.3)  # seconds before, between and behind the digits
LOUD = 0.06  # the root mean square of a synthesised digit
HELD = 200, 400  # strings of dev and test
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# eSpeak's variants by part: who is heard in one is not heard in another
VARIANTS = {
    "train": ("m1", "m2", "m3", "m5", "m7", "f1", "f2", "f4"),
    "dev": ("m6", "f5"),
    "test": ("m4", "f3"),
}
ALPHABETS = {"digits": "0123456789", "letters": "".join(sorted({" ", *"".join(WORDS)}))}
ACCENTS = ("en-us", "en", "en-gb-scotland")
Clips = Sequence[Sequence[Sequence[Tensor]]]
"""Of each speaker, of each digit 0..9, its recordings [n]."""


def digit_strings(
    train: int = 2000,
    snr: int = 30,
    seed: int = 0,
    units: Literal["digits", "letters"] = "digits",
    hearing: Hearing = Hearing(),
) -> DataSet:
    """Strings of 3 to 7 digits from the recordings of the Free Spoken Digit Dataset (Jackson et al.), 8 kHz.

    Reads $LAMINA_DATA/fsdd/manifest.jsonl, whose label is the digit. A string is of one speaker; the four speakers are
    the same in each part, the recordings are not. train: strings to learn from; 200 to choose by, 400 to judge. snr:
    a string's power over that of the white noise under it, in dB. units: the labels are digits, or the letters of their
    words. `Split.aligned` says which is heard in each frame.

    With noise=100+20+10+5 the strings to learn from and to choose by get noise at one of these, drawn at random, in
    place of snr; those to judge are at snr, and beside them in `probes` at each of these.
    """
    at_least("digit_strings", train=(train, 1))
    source = "Free Spoken Digit Dataset, recordings joined, the same speakers in each part"
    return _dataset(
        "digit_strings", recorded(), Strings(train, snr, seed, units, hearing), source, "spoken digit strings"
    )


def espeak_strings(
    train: int = 1000,
    snr: int = 30,
    seed: int = 0,
    units: Literal["digits", "letters"] = "digits",
    hearing: Hearing = Hearing(),
) -> DataSet:
    """Strings of 3 to 7 digits said by eSpeak NG in three accents of English, at many speeds and pitches, 8 kHz.

    The variants of its voice that are heard in one part are in no other. All else as in digit_strings.
    """
    at_least("espeak_strings", train=(train, 1))
    clips = said(seed)
    voices = ", ".join(f"{len(clips[part])} voices in {part}" for part in PARTS)
    source = f"synthetic: eSpeak NG, {voices}; digits joined"
    strings = Strings(train, snr, seed, units, hearing)
    return _dataset("espeak_strings", clips, strings, source, "synthetic spoken digit strings")


def recorded() -> dict[str, Clips]:
    """The Free Spoken Digit Dataset's recordings by part; UserError where they are not there, or a digit is missing."""
    path = shared("fsdd", "fsdd/manifest.jsonl")
    found: dict[str, dict[str, list[list[Tensor]]]] = {part: {} for part in PARTS}
    for one in read_manifest(path):
        if one.label not in map(str, range(10)):
            raise UserError(f"{one.where}: label {one.label!r}; it must be a digit, 0..9")
        speaker = found[one.split].setdefault(one.speaker, [[] for _ in range(10)])
        speaker[int(one.label)].append(one.heard(RATE))
    for part, speakers in found.items():
        for name, digits in speakers.items():
            if not all(digits):
                raise UserError(f"{path}: {part} has no {digits.index([])} by {name}; give every digit")
    return {part: list(speakers.values()) for part, speakers in found.items()}


def said(seed: int, takes: int = 1) -> dict[str, Clips]:
    """eSpeak's digits by part, a recording each, of all voices and accents `takes` times, each at a speed and pitch of
    its own.
    """
    generator = torch.Generator().manual_seed(2 * seed + 1_000_000)
    voices = {
        part: [
            Voice(f"{accent}+{variant}", drawn(120, 220, generator), drawn(20, 80, generator))
            for _ in range(takes)
            for accent in ACCENTS
            for variant in variants
        ]
        for part, variants in VARIANTS.items()
    }
    sounds, rate = say([(word, voice) for part in PARTS for voice in voices[part] for word in WORDS])
    each = iter(levelled(resampled(sound, rate, RATE)) for sound in sounds)
    return {part: [[[next(each)] for _ in WORDS] for _ in voices[part]] for part in PARTS}


@dataclass(frozen=True)
class String:
    """What was said, its sound [n], and where each digit lies in it: from its first sample to behind its last."""

    text: str
    sound: Tensor
    spans: tuple[tuple[int, int], ...]

    def written(self, units: str) -> str:
        """The digits, or their words."""
        return self.text if units == "digits" else " ".join(WORDS[int(digit)] for digit in self.text)

    def aligned(self, units: str, frames: int, each: int) -> Tensor:
        """What is heard in the middle of each frame of `each` samples, as label numbers [frames]: a path that collapses
        to the labels of `written` where no unit is shorter than a frame.

        A word's letters share its time evenly; the second of two equal ones begins with a blank. Between words the
        space is heard, where there is one, before and behind them the blank.
        """
        alphabet = ALPHABETS[units]
        middles = torch.arange(frames) * each + each // 2
        found = torch.zeros(frames, dtype=torch.int64)
        if " " in alphabet:
            found[(middles >= self.spans[0][0]) & (middles < self.spans[-1][1])] = 1 + alphabet.index(" ")
        for digit, (start, end) in zip(self.text, self.spans, strict=True):
            unit = digit if units == "digits" else WORDS[int(digit)]
            inside = (middles >= start) & (middles < end)
            which = (middles[inside] - start) * len(unit) // (end - start)
            labels = torch.tensor([1 + alphabet.index(c) for c in unit])[which]
            again = torch.zeros_like(inside[inside])
            again[1:] = (which[1:] != which[:-1]) & (labels[1:] == labels[:-1])
            found[inside] = labels.masked_fill(again, BLANK)
        return found


def joined(clips: Clips, n: int, generator: torch.Generator, speeds: Sequence[int] = (100,)) -> list[String]:
    """n strings, each of one speaker of `clips` at one of the speeds: digits at random with silences between."""

    def pause() -> Tensor:
        low, high = (round(RATE * seconds) for seconds in PAUSE)
        return torch.zeros(drawn(low, high + 1, generator))

    strings = []
    for _ in range(n):
        speaker, percent = clips[drawn(0, len(clips), generator)], speeds[drawn(0, len(speeds), generator)]
        digits = [drawn(0, 10, generator) for _ in range(drawn(FEWEST, MOST + 1, generator))]
        pieces = [pause()]
        for digit in digits:
            pieces += [faster(speaker[digit][drawn(0, len(speaker[digit]), generator)], percent), pause()]
        ends = list(accumulate(map(len, pieces)))
        spans = tuple(zip(ends[:-1:2], ends[1::2], strict=True))
        strings.append(String("".join(map(str, digits)), torch.cat(pieces), spans))
    return strings


def levelled(sound: Tensor) -> Tensor:
    """The sound at the root mean square LOUD."""
    return LOUD * sound / sound.square().mean().sqrt()


@dataclass(frozen=True)
class Strings:
    """What is asked of a set of strings; see digit_strings."""

    train: int
    snr: int
    seed: int
    units: str
    hearing: Hearing


def _dataset(name: str, clips: dict[str, Clips], asked: Strings, source: str, title: str) -> DataSet:
    hearing, features = asked.hearing, asked.hearing.features(RATE)
    backgrounds = read_backgrounds(hearing.noises, RATE)
    strings, rows = {}, {}
    for i, (part, n) in enumerate(zip(PARTS, (asked.train, *HELD), strict=True)):
        generator = torch.Generator().manual_seed(6 * asked.seed + 2 * i)  # a part does not hang on another's size
        strings[part] = joined(clips[part], n, generator, hearing.speed if part == "train" else (100,))
        how = Hearing() if part == "test" else hearing
        rows[part] = features([how.varied(s.sound, backgrounds, generator, asked.snr) for s in strings[part]])
    each = RATE // 100 * hearing.stack
    found = written(
        name,
        rows,
        {part: [s.written(asked.units) for s in some] for part, some in strings.items()},
        features,
        f"{source}; noise at {asked.snr} dB; seed {asked.seed}{hearing.told()}",
        title=title,
        alphabet=ALPHABETS[asked.units],
        masks=hearing.hidden(),
        aligned=None
        if hearing.samples
        else {
            part: [s.aligned(asked.units, features.frames(len(s.sound)), each) for s in some]
            for part, some in strings.items()
        },
    )
    probes = {
        snr: replace(found.test, x=Ragged(features(_at(strings["test"], snr, torch.Generator().manual_seed(snr)))))
        for snr in hearing.noise
    }
    return replace(found, probes=probes, probe="snr" if probes else "")


def judged(seed: int, snr: int) -> list[tuple[str, Tensor]]:
    """The test part of digit_strings of that seed with noise at that ratio, for others to hear: words, and samples [n]
    at RATE.
    """
    strings = joined(recorded()["test"], HELD[1], torch.Generator().manual_seed(6 * seed + 4))
    sounds = _at(strings, snr, torch.Generator().manual_seed(snr))
    return [(string.written("letters"), sound) for string, sound in zip(strings, sounds, strict=True)]


def _at(strings: Sequence[String], snr: float, generator: torch.Generator) -> list[Tensor]:
    """The sounds of strings with white noise snr dB below."""
    return [with_noise(s.sound, torch.randn(s.sound.shape, generator=generator), snr) for s in strings]
