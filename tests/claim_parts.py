"""What the tests of the claims share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

from lamina.reproduce import Claim
from lamina.reproduce import record as records

__all__ = ["drawn", "quiet"]


def quiet(what: str, done: int, of: int) -> None:
    """Progress that nobody watches."""


def drawn(claim: Claim, settings: dict[str, Any], found: dict[str, Any]) -> None:
    """The picture is whole XML of its own, fetches nothing, and its title holds a number."""
    plan = claim.plan("ci")
    plan = replace(plan, seeds=(0, 1), settings=settings)
    trials = [{**found, "minutes": 0.1, "env": {}, "code": "0"}] * 2
    svg = claim.picture(records.record(claim, "ci", plan, trials), trials)
    root = ElementTree.fromstring(svg)
    title = root.find("{http://www.w3.org/2000/svg}title")
    assert title is not None
    assert any(c.isdigit() for c in title.text or "")
    assert "nan" not in svg
    svg = svg.replace('href="data:image/png;base64,', "")  # a picture of its own
    assert not any(word in svg for word in ("href", "url(", "@import", "<script"))
