"""The report in a browser: drawn, silent, asking nothing of the network, narrow, dark, from the keyboard, on paper."""

from __future__ import annotations

import pytest

from lamina.compare import report
from report_browser import CHROMIUM, Browser
from report_results import digits, recall

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine to open the page in")
CHARTS = 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    report.write(digits(), out)
    return out


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


def test_drawn_in_silence_and_without_a_network(browser, folder):
    page = f"{(folder / 'report.html').as_uri()}#all"
    browser.open(page)
    assert browser.complaints == []
    assert [r for r in browser.requests if not r.startswith("data:")] in ([page], [page.removesuffix("#all")])
    drawn = browser.js("[...document.querySelectorAll('.chart')].map(c => c.querySelectorAll('svg .trace').length)")
    assert len(drawn) == CHARTS
    assert min(drawn) >= 5
    assert browser.js("fetch('https://example.org/').then(() => 'reached', () => 'refused')") == "refused"


def test_folded_charts_are_drawn_when_they_unfold(browser, folder):
    browser.open((folder / "report.html").as_uri())
    drawn = "document.querySelectorAll('#chart-latency svg').length > 0"
    assert not browser.js(drawn)
    browser.js("document.querySelector('#latency summary').click()")
    browser.settle()
    assert browser.js(drawn)
    assert browser.js("document.querySelectorAll('#chart-tradeoff svg').length > 0")
    browser.open(f"{(folder / 'report.html').as_uri()}#latency")
    assert browser.js("document.querySelector('#latency').open")


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_never_scrolls_sideways(browser, folder, width):
    browser.open(f"{(folder / 'report.html').as_uri()}#all", width=width, touch=width == 360)
    assert browser.js("document.documentElement.scrollWidth") == width
    assert (
        browser.js(
            "Math.max(...[...document.querySelectorAll('.chart svg')].map(s => s.getBoundingClientRect().right))"
        )
        <= width
    )


@pytest.mark.parametrize("width", [360, 1280])
def test_a_study_of_memory_is_drawn_with_its_states_first(browser, tmp_path, width):
    report.write(recall(), tmp_path)
    browser.open(f"{(tmp_path / 'report.html').as_uri()}#all", width=width, touch=width == 360)
    assert browser.complaints == []
    assert browser.js("document.documentElement.scrollWidth") == width
    first = browser.js("[...document.querySelectorAll('.chart')].slice(0, 4).map(c => c.id)")
    assert first == ["chart-state", "chart-memory", "chart-asked-without", "chart-asked-with"]
    drawn = browser.js("[...document.querySelectorAll('.chart')].map(c => c.querySelectorAll('svg .trace').length)")
    assert min(drawn) >= 5
    open_marks = "document.querySelectorAll('#chart-state .point[style*=\"fill: none\"]').length"
    assert browser.js(open_marks) == sum(not row["short_conv"] for row in recall()["rows"])


def test_first_screen_holds_sentence_picture_and_table(browser, folder):
    browser.open((folder / "report.html").as_uri(), height=900)
    assert browser.js("document.querySelector('#rows tbody tr').getBoundingClientRect().bottom") < 900


def test_charts_follow_the_colour_scheme(browser, folder):
    colour = "document.querySelector('#chart-tradeoff .main-svg').style.background"
    browser.open((folder / "report.html").as_uri())
    light = browser.js(colour)
    browser.scheme("dark")
    browser.settle()
    assert light == "rgb(255, 255, 255)"
    assert browser.js(colour) == "rgb(20, 24, 28)"
    assert browser.js("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 28)"


def test_the_table_sorts_by_click_and_by_keyboard(browser, folder):
    browser.open((folder / "report.html").as_uri())
    names = "[...document.querySelectorAll('#rows tbody tr')].map(r => JSON.parse(r.dataset.sort)[0])"
    ways = "[...document.querySelectorAll('#rows thead th')].map(h => h.getAttribute('aria-sort'))"
    assert browser.js(names)[0] == "lenet"
    assert browser.js(ways)[:3] == ["none", "descending", "none"]
    button = "[...document.querySelectorAll('#rows thead button')].find(b => b.textContent.startsWith('Step p50'))"
    browser.js(f"{button}.click()")
    assert browser.js(names)[:5] == ["mlp", "rnn", "lstm", "gru", "transformer"]
    browser.js(f"{button}.focus()")
    browser.key("Enter", 13)
    after = browser.js(names)
    assert after[:5] == ["transformer", "gru", "lstm", "rnn", "mlp"]
    assert set(after[5:]) == {"lenet", "retnet", "bert", "seq2seq"}
    assert browser.js(ways)[6] == "descending"
    assert "descending" in browser.js("document.getElementById('said').textContent")


def test_hostile_text_runs_nowhere(browser, tmp_path):
    from test_report import hostile

    report.write(hostile(digits()), tmp_path)
    browser.open(f"{(tmp_path / 'report.html').as_uri()}#all")
    assert browser.complaints == []
    assert browser.js("document.querySelectorAll('img, main script, main a[href^=http]').length") == 0
    assert browser.js("document.querySelectorAll('#chart-tradeoff svg').length > 0")


def test_shared_js_draws_too(browser, tmp_path):
    report.write(digits(), tmp_path, shared_js=True)
    browser.open((tmp_path / "report.html").as_uri())
    assert browser.complaints == []
    assert browser.js("document.querySelectorAll('#chart-tradeoff svg').length > 0")


def test_prints_on_a4(browser, folder, tmp_path):
    browser.open((folder / "report.html").as_uri(), dark=True)
    browser.pdf(tmp_path / "report.pdf")
    text = (tmp_path / "report.pdf").read_bytes()
    assert text.startswith(b"%PDF")
    assert b"/MediaBox [0 0 595" in text or b"/MediaBox [0 0 594" in text


def test_without_the_shared_library_the_page_says_so_and_keeps_its_tables(browser, tmp_path):
    report.write(digits(), tmp_path, shared_js=True)
    (tmp_path / "plotly.min.js").unlink()
    browser.open((tmp_path / "report.html").as_uri())
    texts = browser.js("[...document.querySelectorAll('.chart')].map(c => c.textContent)")
    assert set(texts) == {"Put plotly.min.js beside this page to see the chart."}
    assert browser.js("document.querySelector('table').tBodies[0].rows.length") == len(digits()["rows"])
