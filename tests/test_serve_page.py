"""The page of lamina serve in headless Chromium: a file for its microphone, and its digits on the page."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
import soundfile
import torch

from lamina.compare.report_families import FAMILIES
from lamina.deploy.serve import Limits
from lamina.deploy.serve.app import PAGE
from lamina.speech import Listeners, Recogniser
from recogniser_parts import random_run
from report_browser import CHROMIUM, Browser
from serve_parts import TOKEN, server, spoken, spoken_run

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine to open the page in")
DIGITS = "31415926"
LISTEN = "document.getElementById('listen')"
LINES = "[...document.querySelectorAll('#captions p:not(#hint)')].map((p) => p.textContent.trim())"
READ = f"{LINES}.join('')"


def microphone(path):
    """Chromium's flags for a microphone that plays the file once."""
    fake = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={path}%noloop"]
    return [*fake, "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required"]


def until(browser, condition, patience=30_000):
    """Waits in the page until the condition holds."""
    waited = f"""new Promise((then) => {{
        const end = performance.now() + {patience};
        const look = () => {condition} ? then(true) : performance.now() > end ? then(false) : setTimeout(look, 50);
        look();
    }})"""
    assert browser.js(waited), browser.js("document.body.innerText")


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with server(Recogniser.of_run(random_run(tmp_path_factory.mktemp("random"), left=8, right=2))) as one:
        yield one


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    [wave] = spoken([DIGITS], folder)
    with Browser(folder / "profile", *microphone(wave)) as one:
        one.wave = wave
        yield one


def test_silent_at_home_and_narrow(browser, app):
    for width in (360, 768, 1280):
        browser.open(app.url, width=width, touch=width == 360)
        assert browser.complaints == []
        assert all(r.startswith((app.url, "data:")) for r in browser.requests)
        assert browser.js("document.documentElement.scrollWidth") == width
    assert browser.js("fetch('https://example.org/').then(() => 'reached', () => 'refused')") == "refused"
    assert browser.js("document.querySelectorAll('#memory-table tr').length") == 6


def test_the_microphone_from_the_keyboard_and_nothing_moves(browser, app):
    """Start by Enter, words come, stop by Enter; what lies below the captions stays where it was."""
    where = "['listen', 'chips', 'memory'].map(id => document.getElementById(id).getBoundingClientRect().top)"
    browser.open(app.url)
    before = browser.js(where)
    browser.js(f"{LISTEN}.focus()")
    browser.key("Enter", 13)
    until(browser, f"{READ}.length > 3 && document.getElementById('state').textContent === 'Listening'")
    assert browser.js(where) == before
    assert browser.js("document.activeElement.id") in ("listen", "")  # it was disabled for a moment
    assert re.fullmatch(r"[\d.]+ ms", browser.js("document.getElementById('compute').textContent"))
    assert "This stream keeps" in browser.js("document.getElementById('memory-text').textContent")
    browser.js(f"{LISTEN}.focus()")
    browser.key("Enter", 13)
    until(browser, f"{LISTEN}.textContent === 'Start listening' && !{LISTEN}.disabled")
    assert browser.js("document.querySelector('.provisional').textContent") == ""
    assert browser.js("document.getElementById('problem').textContent") == ""
    assert browser.complaints == []


def test_a_file(browser, app):
    """Put into the page's input as a user does; read to its end."""
    browser.open(app.url)
    root = browser.call("DOM.getDocument")["root"]["nodeId"]
    node = browser.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    browser.call("DOM.setFileInputFiles", nodeId=node, files=[str(browser.wave)])
    until(browser, "document.getElementById('state').textContent.startsWith('Heard')")
    seconds = soundfile.info(str(browser.wave)).duration
    assert browser.js("document.getElementById('state').textContent") == f"Heard {seconds:.1f} s"
    assert len(browser.js(READ)) > 10
    assert browser.js("document.getElementById('compute').textContent") == "not live"
    more = browser.js("document.getElementById('compute-more').textContent")
    assert more == f"a file, {seconds:.1f} s of {seconds:.1f} s"
    words = browser.js("document.querySelector('#captions p:last-child').textContent").split()
    median = browser.js("document.getElementById('emission-more').textContent")
    assert median == f"median of {len(words)} words"
    browser.call("DOM.setFileInputFiles", nodeId=node, files=[str(PAGE / "page.css")])
    until(browser, "document.getElementById('problem').textContent.includes('WAV or MP3')")


def test_a_line_an_utterance(browser, app, monkeypatch):
    """Any frame without a label is a pause here; the file's lines are those of the recogniser."""
    monkeypatch.setattr("lamina.speech.telling.PAUSE", 0.01)
    listeners = Listeners(app.engine.listeners.recogniser, 1)
    row = listeners.join()
    listeners.push({row: torch.from_numpy(soundfile.read(browser.wave, dtype="float32")[0])})
    last = listeners.finish(row)
    lines = [last.stable[a:b].strip() for a, b in pairwise((0, *last.ends, len(last.stable)))]
    browser.open(app.url)
    root = browser.call("DOM.getDocument")["root"]["nodeId"]
    node = browser.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    browser.call("DOM.setFileInputFiles", nodeId=node, files=[str(browser.wave)])
    until(browser, "document.getElementById('state').textContent.startsWith('Heard')")
    assert browser.js(LINES) == [line for line in lines if line]
    assert len(lines) > 1


def test_errors_say_what_to_do(browser, app, tmp_path):
    recogniser = app.engine.listeners.recogniser
    with server(recogniser, token=TOKEN) as one:
        browser.open(one.url)
        assert browser.js("document.getElementById('ask').hidden") is False
        browser.js(f"{LISTEN}.click()")
        until(browser, "document.getElementById('problem').textContent.startsWith('The token is missing')")
        until(browser, f"!{LISTEN}.disabled")
        browser.js("""window.asked = 0; const media = navigator.mediaDevices, real = media.getUserMedia.bind(media);
            media.getUserMedia = (what) => { window.asked++; return real(what); }; 0""")
        ask = "document.getElementById('ask').requestSubmit();"
        browser.js(f"document.getElementById('token').value = '{TOKEN}'; {ask} {ask} 0")  # two Enters
        until(browser, "document.getElementById('state').textContent === 'Listening'")
        browser.js(f"{ask} 0")
        assert browser.js("window.asked") == 1
        assert browser.js("document.getElementById('state').textContent") == "Listening"
        assert browser.js("document.getElementById('problem').textContent") == ""
    until(browser, "document.getElementById('problem').textContent.startsWith('The server is gone')")
    with server(recogniser, limits=Limits(listeners=1)) as one:
        browser.open(one.url)
        one.sessions |= {object(), object()}  # a crowd
        browser.js(f"{LISTEN}.click()")
        until(browser, "document.getElementById('problem').textContent.startsWith('The server takes no connection')")
        one.sessions.clear()
        until(browser, f"!{LISTEN}.disabled")
        browser.js("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})")
        browser.js(f"{LISTEN}.click()")
        until(browser, "document.getElementById('problem').textContent.includes('localhost')")


def test_families_have_the_colours_of_all_reports():
    found = dict(re.findall(r'\[data-family="([^"]+)"\] \{ --family: (#\w+); \}', (PAGE / "page.css").read_text()))
    assert found == {name: FAMILIES[name].colour for name in found}
    assert set(found) == set(FAMILIES) - {"dense", "generative"}


@pytest.mark.slow
def test_the_digits_that_the_microphone_hears_stand_on_the_page(browser, tmp_path):
    """A network that learnt one voice of eSpeak (synthetic) reads off the page what the file says, word by word."""
    with server(Recogniser.of_run(spoken_run(tmp_path))) as app:
        browser.open(app.url)
        browser.js(f"{LISTEN}.click()")
        until(browser, f"{READ}.length >= {2 * len(DIGITS) - 1}")
        browser.js(f"{LISTEN}.click()")
        until(browser, "document.getElementById('state').textContent.startsWith('Heard')")
        assert browser.js(READ) == " ".join(DIGITS)
        spoken_to = browser.js("document.getElementById('announced').textContent")
        assert spoken_to in " ".join(DIGITS)
