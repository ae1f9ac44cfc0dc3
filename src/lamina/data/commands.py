"""Synthetic commands: short phrases to a device, said by eSpeak NG in many voices; needs no download."""

from __future__ import annotations

import torch

from lamina.data.audio import resampled
from lamina.data.backgrounds import read_backgrounds
from lamina.data.dataset import DataSet
from lamina.data.digit_strings import ACCENTS, VARIANTS, levelled
from lamina.data.espeak import Voice, say
from lamina.data.hearing import Hearing
from lamina.data.manifest import PARTS
from lamina.data.speech import written
from lamina.data.tokens import at_least
from lamina.data.vary import drawn, faster

__all__ = ["PHRASES", "espeak_commands"]

RATE = 16000
HELD = 200, 400  # phrases of dev and test
PHRASES = (
    "turn the volume up", "turn the volume down", "louder", "softer", "mute", "unmute", "next program",
    "previous program", "start streaming", "stop streaming", "answer the call", "end the call", "reject the call",
    "call home", "play music", "pause the music", "next song", "previous song", "battery level", "reduce the noise",
    "focus on the front", "listen all around", "more treble", "less treble", "more bass", "less bass",
    "left side only", "right side only", "both sides", "connect to the phone", "connect to the television",
    "turn on the light", "turn off the light", "set an alarm", "what time is it", "good night", "wake up", "help",
    "yes please", "no thank you",
)  # fmt: skip


def espeak_commands(train: int = 1500, snr: int = 30, seed: int = 0, hearing: Hearing = Hearing()) -> DataSet:
    """Phrases such as "turn the volume up", said by eSpeak NG in three accents at many speeds and pitches, 16 kHz.

    The labels are characters. The phrases are the same in all parts, the variants of its voice that are heard in one
    are in no other. train: utterances to learn from; 200 to choose by, 400 to judge. snr: their power over that of the
    white noise under them, in dB; with noise=100+20+10+5 those to learn from are at one of these. speed is drawn too.
    """
    at_least("espeak_commands", train=(train, 1))
    backgrounds = read_backgrounds(hearing.noises, RATE)
    texts, lines = {}, []
    for i, (part, n) in enumerate(zip(PARTS, (train, *HELD), strict=True)):
        generator = torch.Generator().manual_seed(6 * seed + 2 * i)
        texts[part] = [PHRASES[drawn(0, len(PHRASES), generator)] for _ in range(n)]
        lines += [(text, _voice(part, generator)) for text in texts[part]]
    sounds, rate = say(lines)
    each = iter(sounds)
    features, heard = hearing.features(RATE), {}
    for i, part in enumerate(PARTS):
        generator = torch.Generator().manual_seed(6 * seed + 2 * i + 1_000_000)
        how, mixed = hearing if part == "train" else Hearing(), []
        for _ in texts[part]:
            percent = how.speed[drawn(0, len(how.speed), generator)] if part == "train" else 100
            sound = faster(levelled(resampled(next(each), rate, RATE)), percent)
            mixed.append(how.varied(sound, backgrounds, generator, snr))
        heard[part] = features(mixed)
    voices = ", ".join(f"{len(ACCENTS) * len(VARIANTS[part])} voices in {part}" for part in PARTS)
    return written(
        "espeak_commands", heard, texts, features,
        f"synthetic: eSpeak NG, {voices}; {len(PHRASES)} phrases; noise at {snr} dB; seed {seed}{hearing.told()}",
        title="synthetic spoken commands", alphabet="".join(sorted(set("".join(PHRASES)))), masks=hearing.hidden(),
    )  # fmt: skip


def _voice(part: str, generator: torch.Generator) -> Voice:
    accent, variant = (some[drawn(0, len(some), generator)] for some in (ACCENTS, VARIANTS[part]))
    return Voice(f"{accent}+{variant}", drawn(120, 220, generator), drawn(20, 80, generator))
