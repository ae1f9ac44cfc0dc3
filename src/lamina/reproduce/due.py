"""due: which claims a day's run measures again, so that every change is seen and every claim comes round."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from lamina.core.config import UserError
from lamina.reproduce.claim import Claim, Tier
from lamina.reproduce.record import experiment_digest
from lamina.train import checkpoint

__all__ = ["due"]

ROUND = 4  # days in which every claim comes round


def due(claims: Iterable[Claim], tier: Tier, records: Path, day: int | None = None) -> list[Claim]:
    """The claims whose experiment is not the one that the records there are of, and a quarter of the others.

    records: the folder that `reproduce` wrote, and that is kept. day: counts up from day to day; default today's.
    """
    if not records.is_dir():
        raise UserError(f"{records}: no such folder; give the one that holds the claims' records, such as docs/claims")
    today = datetime.now(UTC).toordinal() if day is None else day
    found, at = [], 0
    for claim in claims:
        if not _stands(claim, tier, records):
            found.append(claim)
            continue
        if at % ROUND == today % ROUND:
            found.append(claim)
        at += 1
    return found


def _stands(claim: Claim, tier: Tier, records: Path) -> bool:
    """Whether there is a record of each seed by today's experiment with today's settings."""
    plan = claim.plan(tier)
    asked = {"experiment": experiment_digest(claim), "settings": plan.settings}
    paths = [records / claim.name / f"{tier}-seed{seed}.json" for seed in plan.seeds]
    return all(
        path.is_file() and all(checkpoint.read_json(path).get(key) == value for key, value in asked.items())
        for path in paths
    )
