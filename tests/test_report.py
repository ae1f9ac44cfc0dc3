"""The report's text: values, reasons, escaping, files. test_report_page opens it in a browser."""

from __future__ import annotations

import copy
import csv
import json
import re

import pytest

from lamina.compare import report
from lamina.compare.report_families import FAMILIES, mark
from lamina.compare.report_rows import best_score, best_step, order, why
from lamina.compare.report_text import bytes_text, clean, embed, scale_of, sentences, short, three
from lamina.core.config import UserError
from report_results import digits


@pytest.fixture
def results():
    return digits()


def _write(results, out):
    report.write(results, out)
    return (out / "report.html").read_text(encoding="utf-8")


def _text(html):
    """The page without its scripts, style and tags: what a reader reads."""
    html = re.sub(r"<(script|style)\b.*?</\1>", " ", html, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def _table_row(html, model):
    table = html[html.index('<table id="rows"') : html.index("</table>")]
    return next(r for r in re.findall(r"<tr data-sort=.*?</tr>", table, re.S) if re.search(rf"</svg>{model}<", r))


def test_title_is_the_verdict_and_values_land_in_the_table(results, tmp_path):
    html = _write(results, tmp_path)
    title = "At 60k weights, lenet reads these digits best (98.9 ± 0.3 %)."
    assert f"<title>{title}</title>" in html
    assert f"<h1>{title}</h1>" in html
    lstm = _text(_table_row(html, "lstm"))
    for shown in ("97.0 ± 0.4", "59,806", "120", "957", "0.142", "0.171", "0.254", "1.15", "8 rows of 8 as frames"):
        assert f" {shown} " in lstm, shown
    for word in ("lamina compare digits --params 60k", "AMD EPYC 7763", "5f2c81aa", "d_model=72 n_layers=2"):
        assert word in html


def test_rows_that_could_not_run_keep_their_reason(results, tmp_path):
    html = _write(results, tmp_path)
    assert "does not stream: an image is seen all at once" in _table_row(html, "lenet")
    for row in results["rows"][6:]:
        assert f"{row['status']}: {row['reason']}" in _table_row(html, row["model"])
    cells = re.findall(r"<t[dh]\b[^>]*>(.*?)</t[dh]>", html, re.S)
    assert cells
    assert all(_text(cell).strip() for cell in cells)
    assert not re.search(r"\b(nan|none|inf|null|undefined)\b", _text(html).replace("was NaN at step 57", ""), re.I)


def test_best_is_bold_only_where_it_can_be_told_apart(results, tmp_path):
    assert "<strong>98.9 ± 0.3</strong>" in _write(results, tmp_path)
    close = copy.deepcopy(results)
    close["rows"][5].update(scores=[0.9722, 0.9694, 0.9739], score=0.9718, score_sd=0.0023)
    assert best_score(close) is None
    assert "<strong>97" not in _write(close, tmp_path)
    assert best_score({**results, "best": None}) is None
    assert best_step(results["rows"]) == "mlp"
    results["rows"][0]["step_ms_p95"] = 0.2
    assert best_step(results["rows"]) is None


def test_csv_holds_every_row_in_full(results, tmp_path):
    _write(results, tmp_path)
    with open(tmp_path / "results.csv", newline="", encoding="utf-8") as file:
        rows = {r["model"]: r for r in csv.DictReader(file)}
    assert next(iter(rows)) == "lenet"
    assert len(rows) == 9
    assert float(rows["lstm"]["score"]) == results["rows"][2]["score"]
    assert rows["lstm"]["scores"] == "0.9667;0.975;0.9694"
    assert (rows["lenet"]["streams"], rows["lenet"]["step_ms_p50"]) == ("false", "")
    assert json.loads(rows["gru"]["config"]) == {"d_model": 84, "n_layers": 2}
    assert rows["bert"]["status"] == "infeasible"
    assert "nan" not in (tmp_path / "results.csv").read_text().lower().replace("was nan", "")


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&<b>"


def hostile(results):
    bad = copy.deepcopy(results)
    for key in ("name", "command", "verdict", "metric"):
        bad[key] = HOSTILE
    bad["env"]["cpu"] = bad["data"]["source"] = HOSTILE
    for row in bad["rows"]:
        for key in ("paper", "view", "reason", "family"):
            row[key] = HOSTILE
        row["config"] = {HOSTILE: HOSTILE}
    bad["rows"][2]["model"] = HOSTILE
    bad["curves"][HOSTILE] = bad["curves"]["lstm"]
    bad["trials"][0].update(model=HOSTILE, status=HOSTILE)
    return bad


def test_text_from_outside_is_escaped(results, tmp_path):
    html = _write(hostile(results), tmp_path)
    assert "<img" not in html[: html.index("plotly.js v")]
    assert "<script>alert" not in html
    assert "onerror=alert(2)&gt;" in html
    assert html.count("</script>") == 3
    results["rows"][0]["model"] = "=HYPERLINK(1)"
    _write(results, tmp_path)
    assert "'=HYPERLINK(1)" in (tmp_path / "results.csv").read_text()


def test_embedded_json_cannot_end_its_script():
    value = {"a": "</script><!--\u2028", "b": [1.5, None]}
    assert "<" not in embed(value)
    assert json.loads(embed(value)) == value


def test_the_page_names_no_address_to_load_from(results, tmp_path):
    html = _write(results, tmp_path)
    own = html[: html.index("/**\n* plotly.js")] + html[html.rindex("<script>") :]
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", own)
    assert "default-src 'none'" in html
    assert "unsafe-eval" not in html


def test_shared_js_stands_beside_the_page(results, tmp_path):
    report.write(results, tmp_path, shared_js=True)
    assert (tmp_path / "report.html").stat().st_size < 200_000
    assert (tmp_path / "plotly.min.js").stat().st_size > 1_000_000
    before = (tmp_path / "plotly.min.js").stat().st_mtime_ns
    report.write(results, tmp_path, shared_js=True)
    assert (tmp_path / "plotly.min.js").stat().st_mtime_ns == before


def test_nothing_half_written(results, tmp_path, monkeypatch):
    _write(results, tmp_path)
    before = (tmp_path / "report.html").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report.os, "replace", full)
    with pytest.raises(UserError, match=r"No space left.*--out"):
        report.write({**results, "verdict": "Another."}, tmp_path)
    assert (tmp_path / "report.html").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "results.csv"]


@pytest.mark.parametrize(
    "drop", ["curves", "trials", "env", "budget", "data", "chance", "verdict", "command", "created"]
)
def test_a_part_that_is_missing_is_left_out(results, tmp_path, drop):
    del results[drop]
    assert "lstm" in _text(_write(results, tmp_path))


def test_a_step_that_is_no_frame_is_said_and_the_rule_stands_in_the_details(results, tmp_path):
    results["rows"][5].update(step_ms_p50=0.33, step_ms_p95=0.47, step_ms_p99=0.6, step_of="the whole example")
    results.update(rule="Told apart by the 95 % interval.", left_out=["conv"], best="lenet")
    results["verdict"] += " Told apart by the 95 % interval."
    html = _write(results, tmp_path)
    assert "A step of lenet is the whole example." in html
    assert '"label":"lenet (whole example)"' in html
    assert html.count("Told apart by the 95 % interval.") == 1
    assert "conv; --all adds them" in html
    assert "does not stream: an image is seen all at once" in _table_row(html, "lenet")


def test_no_finished_row_at_all(results, tmp_path):
    results["rows"] = results["rows"][6:]
    assert "nothing to draw" in _write(results, tmp_path)


def test_a_lower_is_better_metric(results, tmp_path):
    results.update(metric="mse", better="lower", chance=0.1667)
    for i, row in enumerate(results["rows"][:6]):
        row.update(score=0.0005 * 3**i, score_sd=0.0001 * 3**i, scores=[0.0004 * 3**i, 0.0006 * 3**i])
    html = _write(results, tmp_path)
    assert 'aria-sort="ascending" class="num"><button type="button">Mean squared error<' in html
    assert "0.000500 ± 0.000100" in html
    assert [r["model"] for r in order(results["rows"], "lower")][:2] == ["mlp", "rnn"]


def test_numbers_and_words():
    assert [three(x) for x in (0, 0.01234, 1.2, 12.34, 123.4, 12345, 999.6, 1.234e-6)] == [
        "0", "0.0123", "1.20", "12.3", "123", "12,300", "1,000", "1.23e\u22126"
    ]  # fmt: skip
    assert [short(x) for x in (0.2, 60000.0, 1.0)] == ["0.2", "60,000", "1"]
    assert [bytes_text(x) for x in (512, 1152, 34_000_000)] == ["512 B", "1.15 kB", "34 MB"]
    accuracy = scale_of({"metric": "accuracy", "better": "higher"})
    assert accuracy.full(0.98123, 0.0031) == "98.1 ± 0.3 %"
    assert accuracy.show(0.98123, 0.0003) == "98.1 ± 0.03"
    assert sentences("A is best (98.1 %). b and c tie.") == ("A is best (98.1 %).", "b and c tie.")
    assert clean({"a": [float("nan"), (1, float("inf"))]}) == {"a": [None, [1, None]]}
    assert why({"status": "diverged", "reason": "diverged at step 3"}) == "diverged at step 3"
    assert len({mark(name) for name in FAMILIES}) == len(FAMILIES) == 8
