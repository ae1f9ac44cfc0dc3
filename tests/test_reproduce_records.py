"""Records of claims are of the data that there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lamina import data


def spoken() -> list[tuple[str, dict[str, Any]]]:
    """The claims whose record of tier ci is of synthetic speech, with what it says of that."""
    found = []
    for path in sorted((Path(__file__).parents[1] / "docs" / "claims").glob("*/ci.json")):
        held = json.loads(path.read_text())["data"] or {}
        sets = [held] if "digest" in held else held.values()
        found += [(path.parent.name, one) for one in sets if "espeak" in one.get("name", "")]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("claim", "told"), spoken(), ids=[claim for claim, _ in spoken()])
def test_a_record_on_synthetic_speech_is_of_the_data_that_there_is(claim: str, told: dict[str, Any]) -> None:
    """Its digest is one processor's: others round features, and sounds at another rate, in the last bit."""
    now, due = data.load(told["name"]).describe(), f"lamina reproduce {claim} --tier ci is due"
    for key, was in told.items():
        if key == "scale":
            assert now[key] == pytest.approx(was, rel=1e-4), due
        elif key != "digest":
            assert now[key] == was, due
