"""The papers' claims, measured: one file a claim. A claim that fails stays listed with its number."""

from __future__ import annotations

from lamina.core.config import nearest
from lamina.reproduce import (
    additive,
    alexnet,
    attention_lstm,
    bert,
    conformer,
    ctc,
    ddpm,
    deltanet,
    dsn,
    gan,
    gated_retention,
    genetic,
    lenet,
    lstm,
    mamba,
    mlp,
    retnet,
    transformer,
    wav2vec2,
    yoco,
)
from lamina.reproduce.claim import TIERS, Claim, Figure, Part, Plan, Tell, Tier
from lamina.reproduce.due import due
from lamina.reproduce.record import fallen, keep, read_verdicts
from lamina.reproduce.run import reproduce

__all__ = [
    "CLAIMS", "TIERS", "Claim", "Figure", "Part", "Plan", "Tell", "Tier", "due", "fallen", "find", "keep",
    "read_verdicts", "reproduce",
]  # fmt: skip

_MODULES = (
    mlp, lstm, lenet, alexnet, additive, transformer, bert, conformer, dsn, mamba, retnet, gated_retention, deltanet,
    yoco, gan, ddpm, genetic, ctc, wav2vec2, attention_lstm,
)  # fmt: skip
CLAIMS: dict[str, Claim] = {module.CLAIM.name: module.CLAIM for module in _MODULES}


def find(name: str) -> Claim:
    """The claim of that name; hyphens count as underscores."""
    key = name.lower().replace("-", "_")
    if key not in CLAIMS:
        raise nearest(name, CLAIMS, "claim")
    return CLAIMS[key]
