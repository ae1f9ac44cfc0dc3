"""The page on generators in a browser: drawn in silence, and its slider and its button move both clouds of points."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lamina.compare.generate import flat, page
from report_browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine to open the page in")
RESULTS = Path(__file__).parent.parent / "docs" / "reports" / "generate" / "results.json"
SLIDE = "document.getElementById('slide')"
DOTS = "[...document.querySelectorAll(`#plane-${name} .dot`)].map(dot => dot.getAttribute('d'))"
PLACES = f"['diffusion', 'genetic'].map(name => {DOTS})"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    out = tmp_path_factory.mktemp("generate")
    page.write(json.loads(RESULTS.read_text()), out)
    with Browser(tmp_path_factory.mktemp("profile")) as one:
        one.open((out / "report.html").as_uri())
        yield one


def test_drawn_in_silence_and_without_a_network(browser):
    assert browser.complaints == []
    assert len([r for r in browser.requests if not r.startswith("data:")]) == 1
    assert browser.js("document.querySelectorAll('#chart-frechet svg .trace').length") == 4
    whole = "[...document.querySelectorAll('.grids img')].map(i => i.complete && i.naturalWidth > 0)"
    assert browser.js(whole) == [True] * 5
    assert browser.js("document.documentElement.scrollWidth <= innerWidth")


def test_the_slider_moves_both_clouds(browser):
    first = browser.js(PLACES)
    assert [len(dots) for dots in first] == [flat.POINTS] * 2
    browser.js(f"{SLIDE}.value = {SLIDE}.max; {SLIDE}.dispatchEvent(new Event('input'))")
    last = browser.js(PLACES)
    assert all(sum(a != b for a, b in zip(*both, strict=True)) > 200 for both in zip(first, last, strict=True))
    assert browser.js("document.getElementById('plane-genetic-at').textContent") == "Generation 24 of 24."
    assert browser.js("document.getElementById('plane-diffusion-at').textContent") == "100 % of the steps."


def test_the_button_plays_from_the_beginning_and_stops(browser):
    browser.js(f"{SLIDE}.value = {SLIDE}.max; {SLIDE}.dispatchEvent(new Event('input'))")
    browser.js("document.getElementById('play').click()")
    assert browser.js("document.getElementById('play').textContent") == "Pause"
    assert browser.js(f"Number({SLIDE}.value)") < 5
    browser.js("document.getElementById('play').click()")
    assert browser.js("document.getElementById('play').textContent") == "Play"
