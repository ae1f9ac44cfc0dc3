"""Records of claims are of the data that there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lamina import data
from lamina.train.machine import environment


def spoken() -> list[tuple[str, str, dict[str, Any]]]:
    """The claims whose record of tier ci is of synthetic speech, the processor, and what it says of that speech."""
    found = []
    for path in sorted((Path(__file__).parents[1] / "docs" / "claims").glob("*/ci.json")):
        record = json.loads(path.read_text())
        held = record["data"] or {}
        sets = [held] if "digest" in held else held.values()
        found += [(path.parent.name, record["env"]["cpu"], one) for one in sets if "espeak" in one.get("name", "")]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("claim", "cpu", "told"), spoken(), ids=[claim for claim, *_ in spoken()])
def test_a_record_on_synthetic_speech_is_of_the_data_that_there_is(claim: str, cpu: str, told: dict[str, Any]) -> None:
    """To the bit on such a processor; others round features, and sounds at another rate, otherwise in the last bit."""
    now, due = data.load(told["name"]).describe(), f"lamina reproduce {claim} --tier ci is due"
    elsewhere = environment()["cpu"] != cpu
    for key, was in told.items():
        if key == "scale":
            assert now[key] == pytest.approx(was, rel=1e-4), due
        elif not (key == "digest" and elsewhere):
            assert now[key] == was, due
