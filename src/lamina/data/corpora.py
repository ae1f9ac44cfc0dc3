"""Sets of recorded speech below $LAMINA_DATA, by their names."""

from __future__ import annotations

from lamina.data.dataset import DataSet
from lamina.data.hearing import Hearing
from lamina.data.shared import shared
from lamina.data.speech import heard

__all__ = ["speech_commands", "speechocean762"]


def speechocean762(pieces: int = 0, hearing: Hearing = Hearing()) -> DataSet:
    """Sentences read by 250 Mandarin speakers of English, half of them children (Zhang et al. 2021, arXiv:2104.01378).

    Reads $LAMINA_DATA/speechocean762/manifest.jsonl. 2,500 utterances of 125 speakers to learn from, 480 of 24 to
    choose by, 500 of 25 to judge. pieces: as in `from_source`.
    """
    path = shared("speechocean762", "speechocean762/manifest.jsonl")
    return heard(str(path.resolve()), "speechocean762", hearing, pieces=pieces)


def speech_commands(hearing: Hearing = Hearing()) -> DataSet:
    """Single words, a class each, by speakers who are in no other part (Warden 2018, arXiv:1804.03209).

    Reads $LAMINA_DATA/speech_commands_3/manifest.jsonl: bed, cat and happy, 3,198 to learn from, 482 to choose by, 509
    of 165 other speakers to judge.
    """
    path = shared("speech_commands", "speech_commands_3/manifest.jsonl")
    return heard(str(path.resolve()), "speech_commands", hearing, classes=True, title="spoken commands")
