"""Spoken digit strings: isolated digits of one speaker joined with random silences, recorded or synthesised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lamina.core.config import UserError
from lamina.data.audio import read_audio, resampled
from lamina.data.dataset import DataSet
from lamina.data.espeak import Voice, say
from lamina.data.features import Features
from lamina.data.manifest import PARTS, read_manifest
from lamina.data.shared import shared
from lamina.data.speech import transcribed
from lamina.data.tokens import at_least

__all__ = ["LOUD", "RATE", "Clips", "digit_strings", "espeak_strings", "joined", "levelled", "recorded", "said"]

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
ACCENTS = ("en-us", "en", "en-gb-scotland")
Clips = Sequence[Sequence[Sequence[Tensor]]]
"""Of each speaker, of each digit 0..9, its recordings [n]."""


def digit_strings(train: int = 2000, snr: int = 30, seed: int = 0) -> DataSet:
    """Strings of 3 to 7 digits from the recordings of the Free Spoken Digit Dataset (Jackson et al.), 8 kHz.

    Reads $LAMINA_DATA/fsdd/manifest.jsonl, whose label is the digit. A string is of one speaker; the four speakers are
    the same in each part, the recordings are not. train: strings to learn from; 200 to choose by, 400 to judge. snr:
    a string's power over that of the white noise under it, in dB.
    """
    at_least("digit_strings", train=(train, 1))
    source = "Free Spoken Digit Dataset, recordings joined, the same speakers in each part"
    return _dataset("digit_strings", recorded(), (train, snr, seed), source)


def espeak_strings(train: int = 1000, snr: int = 30, seed: int = 0) -> DataSet:
    """Strings of 3 to 7 digits said by eSpeak NG in three accents of English, at many speeds and pitches, 8 kHz.

    The variants of its voice that are heard in one part are in no other. train and snr: as in digit_strings.
    """
    at_least("espeak_strings", train=(train, 1))
    clips = said(seed)
    source = f"eSpeak NG, {', '.join(f'{len(clips[part])} voices in {part}' for part in PARTS)}; digits joined"
    return _dataset("espeak_strings", clips, (train, snr, seed), source)


def recorded() -> dict[str, Clips]:
    """The Free Spoken Digit Dataset's recordings by part; UserError where they are not there, or a digit is missing."""
    path = shared("fsdd", "fsdd/manifest.jsonl")
    found: dict[str, dict[str, list[list[Tensor]]]] = {part: {} for part in PARTS}
    for one in read_manifest(path):
        if one.label not in map(str, range(10)):
            raise UserError(f"{one.where}: label {one.label!r}; it must be a digit, 0..9")
        speaker = found[one.split].setdefault(one.speaker, [[] for _ in range(10)])
        speaker[int(one.label)].append(read_audio(one.audio, RATE, one.sr)[0])
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

    def drawn(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    voices = {
        part: [
            Voice(f"{accent}+{variant}", drawn(120, 220), drawn(20, 80))
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
    """What was said, and its sound [n]."""

    text: str
    sound: Tensor


def joined(clips: Clips, n: int, snr: float, generator: torch.Generator) -> list[String]:
    """n strings, each of one speaker of `clips`: digits at random with silences between, and noise snr dB below."""

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    def pause() -> Tensor:
        low, high = (round(RATE * seconds) for seconds in PAUSE)
        return torch.zeros(number(low, high + 1))

    strings = []
    for _ in range(n):
        speaker = clips[number(0, len(clips))]
        digits = [number(0, 10) for _ in range(number(FEWEST, MOST + 1))]
        pieces = [pause()]
        for digit in digits:
            pieces += [speaker[digit][number(0, len(speaker[digit]))], pause()]
        sound = torch.cat(pieces)
        noise = sound.square().mean().sqrt() * 10 ** (-snr / 20) * torch.randn(sound.shape, generator=generator)
        strings.append(String("".join(map(str, digits)), sound + noise))
    return strings


def levelled(sound: Tensor) -> Tensor:
    """The sound at the root mean square LOUD."""
    return LOUD * sound / sound.square().mean().sqrt()


def _dataset(name: str, clips: dict[str, Clips], options: tuple[int, int, int], source: str) -> DataSet:
    train, snr, seed = options
    strings = {}
    for i, (part, n) in enumerate(zip(PARTS, (train, *HELD), strict=True)):  # a part does not hang on another's size
        strings[part] = joined(clips[part], n, snr, torch.Generator().manual_seed(6 * seed + 2 * i))
    return transcribed(
        name,
        {part: [s.sound for s in found] for part, found in strings.items()},
        {part: [s.text for s in found] for part, found in strings.items()},
        Features(RATE),
        f"{source}; noise at {snr} dB; seed {seed}",
        title="spoken digit strings",
    )
