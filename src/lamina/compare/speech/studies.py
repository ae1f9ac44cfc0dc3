"""The studies of speech: data, structures with their keys, and how each is trained; settled on dev parts and seeds from
100 on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["STUDIES", "Study"]


@dataclass(frozen=True)
class Study:
    """One table. models: each structure's keys, all sized to `params` weights. peer: whether pocketsphinx with a
    grammar of digits stands beside them, on the same sounds. unlabelled: speech without its text that each is
    pretrained on for `first` steps, in a row of its own beside that from scratch.
    """

    says: str
    data: str
    models: dict[str, dict[str, Any]]
    params: int
    steps: int
    lr: float
    batch_size: int
    peer: bool = False
    unlabelled: str = ""
    first: int = 0


LEFT = {"left": 64}  # frames that attention sees before its own: a state as small as that
HELD = {"dropout": 0.1}  # where there is little to learn from for so many weights
STUDIES = {
    "digits": Study(
        "3 to 7 spoken digits as the letters of their words, in noise",
        "digit_strings:train=10000,units=letters,noise=100+20+10+5,masks=1",
        {"attention_lstm": LEFT},
        480_000,
        5000,
        3e-3,
        16,
        peer=True,
    ),
    "commands": Study(
        "single words by speakers who are in no other part",
        "speech_commands:speed=90+100+110,masks=1",
        {"attention_lstm": LEFT, "conformer": {**LEFT, "kernel": 15}, "lstm": {}, "mamba": {}},
        100_000,
        1000,
        3e-3,
        32,
    ),
    "speechocean": Study(
        "sentences read by speakers who are in no other part, half of them children",
        "speechocean762:speed=90+100+110,masks=2",
        {
            "conformer": {**LEFT, **HELD, "kernel": 15},
            "attention_lstm": {**LEFT, **HELD},
            "lstm": HELD,
            "mamba": HELD,
        },
        500_000,
        8000,
        2e-3,
        32,
        unlabelled="unlabelled_frames:librispeech_unlabelled+speechocean762",
        first=4000,
    ),
}
