"""The report of lamina compare speech: its sentence, its numbers, and that it shows in a browser."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from lamina.compare.speech.page import verdict, write
from report_browser import CHROMIUM, Browser

BENCH = Path(__file__).parents[1] / "docs" / "bench"


def score(*seeds: float, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    mean = sum(seeds) / len(seeds)
    sd = None if len(seeds) == 1 else (sum((s - mean) ** 2 for s in seeds) / (len(seeds) - 1)) ** 0.5
    return {"mean": mean, "sd": sd, "seeds": list(seeds), "intervals": [[low, high]] * len(seeds)}


def results(column: str, **scores: dict[str, Any] | None) -> dict[str, Any]:
    rows = [
        {"model": name, "weights": 1000, "minutes": 1.0, "status": "done" if one else "diverged",
         "scores": {column: one} if one else {}}
        for name, one in scores.items()
    ]  # fmt: skip
    settings = {"data": "digit_strings", "models": {key: {} for key in scores}, "params": 1000, "steps": 10,
                "lr": 1e-3, "batch_size": 4}  # fmt: skip
    return {"name": "digits", "says": "spoken <digits>", "data": {"source": "made here"}, "settings": settings,
            "seeds": 3, "rows": rows, "columns": [column], "env": {"cpu": "one"}}  # fmt: skip


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (results("CER", lstm=score(5.0, 6.0), gru=score(7.0, 8.0)),
         "lstm hears best (CER 5.50 ± 0.71 %); gru is behind"),
        (
            results("CER", lstm=score(5.0, 7.5), gru=score(7.0, 8.0), mamba=score(6.0, 9.0)),
            "lstm hears best (CER 6.25 ± 1.77 %); gru and mamba cannot be told apart from it",
        ),
        (results("accuracy", lstm=score(95.0), gru=score(97.0)), "gru hears best (accuracy 97.0 %); lstm is behind"),
        (
            results("CER", lstm=score(40.0, low=39.0, high=41.0), gru=score(42.0, low=40.5, high=43.5)),
            "lstm hears best (CER 40.0 (39.0 to 41.0) %); gru cannot be told apart from it",
        ),
        (results("CER", lstm=None, gru=score(4.0, 5.0)), "gru hears best (CER 4.50 ± 0.71 %)"),
        (results("CER", lstm=None), "Every training diverged"),
    ],
)  # fmt: skip
def test_the_sentence_says_who_can_be_told_apart(found: dict[str, Any], said: str) -> None:
    assert verdict(found) == said


def test_all_scores_stand_there(tmp_path: Path) -> None:
    found = results("CER", lstm=score(5.0, 6.0, low=4.0, high=7.0), gru=None)
    write(found, tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "Spoken &lt;digits&gt;." in text
    for shown in ("5.50 ± 0.71", "5.00 (4.00 to 7.00)", "6.00 (4.00 to 7.00)", "diverged"):
        assert shown in text
    rows = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert [(row["model"], row["status"], row["CER"]) for row in rows] == [
        ("lstm", "done", "5.5"),
        ("gru", "diverged", ""),
    ]
    write(results("CER", lstm=None), tmp_path)
    assert "No structure has a score." in (tmp_path / "report.html").read_text()


def test_who_learned_where_is_told(tmp_path: Path) -> None:
    found = results("CER", lstm=score(5.0), gru=score(6.0), mamba=score(7.0))
    for row, machine in zip(found["rows"], ("A <1>", "B", "A <1>"), strict=True):
        row["machine"] = machine
    write(found, tmp_path)
    text = (tmp_path / "report.html").read_text()
    for machine, who in (("A &lt;1&gt;", "lstm; mamba"), ("B", "gru")):
        assert re.search(rf"learned on {machine}</dt>\s*<dd>{who}</dd>", text)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine to open the page in")
@pytest.mark.parametrize("name", ["digits", "commands"])
def test_it_shows_in_a_browser(name: str, tmp_path: Path) -> None:
    found = json.loads((BENCH / f"speech-{name}.json").read_text())
    write(found, tmp_path)
    with Browser(tmp_path / "profile") as browser:
        for width in (360, 1280):
            browser.open((tmp_path / "report.html").as_uri(), width=width)
            assert browser.complaints == []
            assert all(one.startswith(("file:", "data:")) for one in browser.requests)
            assert browser.js("document.documentElement.scrollWidth") == width
        drawn = browser.js("document.querySelectorAll('#chart-scores .ytick text').length")
        columns = [column for column in found["columns"] if not column.startswith("WER")]
        assert drawn == len(found["rows"]) * len(columns)
