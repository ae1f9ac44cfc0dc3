"""Running a claim: seed after seed, each kept at once, so that a killed run goes on from the finished ones."""

from __future__ import annotations

import shutil
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from lamina.core.config import SCHEMA
from lamina.reproduce import record as records
from lamina.reproduce.claim import Claim, Plan, Tell, Tier
from lamina.train import checkpoint
from lamina.train.machine import environment

__all__ = ["reproduce"]


def reproduce(claim: Claim, tier: Tier, out: Path, tell: Tell) -> dict[str, Any]:
    """Runs what is missing of a claim's tier and gives its record.

    Writes OUT/NAME/TIER-seedN.json for each seed, then OUT/NAME/TIER.json and OUT/NAME/TIER.svg. A seed measured before
    with the same settings by the same code (in the full tier: the same experiment) is read, not run.
    """
    plan = claim.plan(tier)
    folder = out / claim.name
    trials = [_trial(claim, tier, plan, seed, folder, tell) for seed in plan.seeds]
    found = records.record(claim, tier, plan, trials)
    records.write(folder / f"{tier}.json", found)
    records.write_text(folder / f"{tier}.svg", claim.picture(found, trials))
    return found


def _trial(claim: Claim, tier: Tier, plan: Plan, seed: int, folder: Path, tell: Tell) -> dict[str, Any]:
    path = folder / f"{tier}-seed{seed}.json"
    code, experiment = records.code_digest(claim), records.experiment_digest(claim)
    # minutes are run again for a change anywhere, hours only for a change of the experiment; either way `code` is kept
    same = {"code": code} if tier == "ci" else {"experiment": experiment}
    asked = {"schema": SCHEMA, "claim": claim.name, "tier": tier, "seed": seed, "settings": plan.settings, **same}
    if path.is_file():
        before = checkpoint.read_json(path)
        if all(before.get(key) == value for key, value in asked.items()):
            return before
    work = folder / f".{tier}-seed{seed}-{next(iter(same.values()))}"  # checkpoints of other code are not gone on with
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the networks are too small for more, and the result does not hang on the machine's cores
    try:
        began = perf_counter()
        found = claim.trial(
            plan.settings, seed, work, lambda what, done, of: tell(f"{tier}, seed {seed}: {what}", done, of)
        )
        minutes = (perf_counter() - began) / 60
        facts = {
            **asked,
            "code": code,
            "experiment": experiment,
            "minutes": round(minutes, 3),
            "env": environment(),
            **found,
        }
    finally:
        torch.set_num_threads(threads)
    records.write(path, facts)
    shutil.rmtree(work, ignore_errors=True)
    return checkpoint.read_json(path)  # as a later run would read it
