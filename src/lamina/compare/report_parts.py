"""The parts of the report page, each a piece of safe HTML: figures with captions, and the details that unfold."""

from __future__ import annotations

import json
from typing import Any

from lamina.compare import report_charts as charts
from lamina.compare.report_families import FAMILIES, OTHER, mark
from lamina.compare.report_lines import curve, memory
from lamina.compare.report_rows import why
from lamina.compare.report_table import table
from lamina.compare.report_text import Scale, bytes_text, esc, exact, short, three

__all__ = ["details", "first"]

Row = dict[str, Any]
Chart = dict[str, Any]
Cell = tuple[Any, str]


def first(results: dict[str, Any], rows: list[Row], scale: Scale) -> tuple[str, list[Chart]]:
    """The picture that proves the sentence, and its description for the drawing script."""
    chart = charts.tradeoff(results, rows, scale)
    if chart is None:
        return '<p class="empty">No structure has a score, so there is nothing to draw; the table says why.</p>', []
    steps = chart["x"]["title"].startswith("Time")
    seeds = len((results.get("budget") or {}).get("seeds") or [])
    up = f"Upright bars: one standard deviation over {seeds or 'the'} seeds." if seeds != 1 else "One seed: no spread."
    side = " To the right: up to the p95 of the step time, batch of 1 on one thread." if steps else ""
    better = "Higher" if scale.better == "higher" else "Lower"
    text = f"{better} and further left is better. {up}{side} Dot area: weights.{_whole(rows) if steps else ''}"
    return _figure(chart, text + _left_out(rows, chart, reasons=False), key=True), [chart]


def details(results: dict[str, Any], rows: list[Row], scale: Scale) -> tuple[str, list[Chart]]:
    """Everything below the table, folded but for the memory picture, and the charts in it."""
    made: list[Chart] = []
    parts = [
        _memory(rows, made),
        _curves(results, rows, scale, made),
        _size(results, rows, scale, made),
        _latency(rows, made),
        _seeds(rows, scale),
        _trials(results, scale),
        _settings(rows, scale),
        _method(results, scale),
        _environment(results),
    ]
    return "\n".join(p for p in parts if p), made


def _memory(rows: list[Row], made: list[Chart]) -> str:
    chart = memory(rows)
    if chart is None:
        return ""
    made.append(chart)
    text = (
        "A state is what a stream must keep between two frames. Lines that stay level never grow, however long it runs."
    )
    reference = [line["about"] for line in chart["lines"] if line.get("about")]
    if reference:
        text += f" The dotted line is a reference, computed and not measured: {reference[0]}."
    none = [r["model"] for r in rows if r.get("state_curve") and not any(b for _, b in r["state_curve"])]
    if none:
        text += f" Without any state: {', '.join(none)}."
    still = [f"{r['model']} ({why(r)})" for r in rows if r.get("status", "done") == "done" and not r.get("state_curve")]
    if still:
        text += f" Not drawn: {', '.join(still)}."
    values = _line_table(chart, "Frames", bytes_text)
    return _part(
        "memory", "Memory", "state against the length of the stream", _figure(chart, text) + values, opened=True
    )


def _curves(results: dict[str, Any], rows: list[Row], scale: Scale, made: list[Chart]) -> str:
    figures = values = ""
    words = {
        "dev": "The score on the validation part while training.",
        "loss": "The loss on the training part, averaged over neighbouring steps.",
    }
    for what, text in words.items():
        chart = curve(results, rows, scale, what)
        if chart is None:
            continue
        made.append(chart)
        figures += _figure(chart, f"{text} Line: the mean over the seeds; band: from the least to the most.")
        values += _line_table(chart, "Training step", short)
    if not figures:
        return ""
    return _part(
        "curves", "Learning curves", "at the chosen learning rate", f'<div class="pair">{figures}</div>{values}'
    )


def _size(results: dict[str, Any], rows: list[Row], scale: Scale, made: list[Chart]) -> str:
    figures = ""
    for key, title in (("params", "Weights"), ("flops_per_example", "FLOP an example")):
        placed = [r for r in rows if r.get("score") is not None and r.get(key)]
        if not placed:
            continue
        chart = charts.against(results, placed, scale, key, title, "count")
        if key == "params":
            charts.budget_refs(results, chart)
        made.append(chart)
        text = {
            "params": "The weights each structure really has; the band is what the budget tolerates.",
            "flops_per_example": "Floating-point operations for the forward pass of one example.",
        }[key]
        figures += _figure(chart, text)
    return _part("size", "Score against weights and FLOPs", "", f'<div class="pair">{figures}</div>') if figures else ""


def _latency(rows: list[Row], made: list[Chart]) -> str:
    chart = charts.latency(rows)
    if chart is None:
        return ""
    made.append(chart)
    text = "One step, batch of 1 on one thread. The family's mark is the p50, the rings are the p95 and p99."
    text += _whole(rows)
    frames = [f"{r['model']} {short(r['latency_frames'])}" for r in rows if r.get("latency_frames") is not None]
    if frames:
        text += f" Algorithmic latency, in frames, comes on top: {', '.join(frames)}."
    return _part("latency", "Latency", "step time at p50, p95 and p99", _figure(chart, text + _left_out(rows, chart)))


def _seeds(rows: list[Row], scale: Scale) -> str:
    with_scores = [r for r in rows if r.get("scores")]
    if not with_scores:
        return ""
    most = max(len(r["scores"]) for r in with_scores)
    seeds = max((r["seeds"] for r in with_scores if isinstance(r.get("seeds"), list)), key=len, default=[])
    names = seeds if len(seeds) == most else range(most)
    headers = [("Structure", False), *((f"Seed {name}, {scale.title.lower()}", True) for name in names)]
    body: list[list[Cell]] = []
    for row in with_scores:
        seeds = [*row["scores"], *[None] * (most - len(row["scores"]))]
        cells = [(s, scale.show(s) if s is not None else "no score") for s in seeds]
        body.append([(row["model"], _name(row)), *cells])
    return _part(
        "seeds",
        "Each seed",
        f"{scale.title.lower()} on the test part",
        table("seeds-table", "Each seed", headers, body),
    )


def _trials(results: dict[str, Any], scale: Scale) -> str:
    trials = results.get("trials") or []
    if not trials:
        return ""
    headers = [("Structure", False), ("Learning rate", True), ("Seed", True)]
    headers += [(f"Validation {scale.title.lower()}", True), ("Seconds", True), ("Outcome", False)]
    body: list[list[Cell]] = []
    for t in trials:
        outcome = str(t.get("status") or "done")
        score, seconds, rate = t.get("dev_score"), t.get("seconds"), t.get("lr")
        body.append(
            [
                (t.get("model"), esc(t.get("model"))),
                (rate, short(rate) if rate is not None else "not set"),
                (t.get("seed"), esc(t.get("seed"))),
                (score, scale.show(score) if score is not None else esc(outcome)),
                (seconds, three(seconds) if seconds is not None else "not measured"),
                (outcome, esc(outcome)),
            ]
        )
    return _part("trials", "Each trial", f"{len(trials)} trainings", table("trials-table", "Each trial", headers, body))


def _settings(rows: list[Row], scale: Scale) -> str:
    headers = [("Structure", False), ("Paper", False), ("Learning rate", True)]
    headers += [(f"Validation {scale.title.lower()}", True), ("Settings", False)]
    body: list[list[Cell]] = []
    for row in rows:
        config = row.get("config") or {}
        keys = " ".join(f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in config.items())
        paper = ", ".join(str(row[k]) for k in ("paper", "year") if row.get(k))
        rate, dev = row.get("lr"), row.get("dev_score")
        status = row.get("status", "done")
        none = f'<span class="none">{esc(status if status != "done" else "not recorded")}</span>'
        body.append(
            [
                (row["model"], _name(row)),
                (paper, esc(paper or "no paper named")),
                (rate, short(rate) if rate is not None else none),
                (dev, scale.show(dev) if dev is not None else none),
                (keys, f"<code>{esc(keys)}</code>" if keys else none),
            ]
        )
    return _part(
        "settings",
        "Each setting",
        "what every structure was built with",
        table("settings-table", "Each setting", headers, body),
    )


def _method(results: dict[str, Any], scale: Scale) -> str:
    budget, data = results.get("budget") or {}, results.get("data") or {}
    used = ", used once, after every choice was made"
    words = {
        "train": "Training part",
        "dev": "Validation part",
        "test": "Test part",
        "name": "Data",
        "digest": "Data digest",
    }
    pairs: list[tuple[str, Any]] = []
    for key, value in data.items():
        if value is not None:
            size = f"{exact(value)} examples{used if key == 'test' else ''}" if isinstance(value, int) else value
            pairs.append((words.get(key, key.capitalize()), size if key in ("train", "dev", "test") else value))
    if budget.get("params"):
        within = f", each within {short(100 * budget['tolerance'])} %" if budget.get("tolerance") else ""
        pairs.append(("Weights", f"{exact(budget['params'])}{within}"))
    if budget.get("lr_grid"):
        pairs.append(("Learning rates", f"{', '.join(map(short, budget['lr_grid']))}; chosen on the validation part"))
    if budget.get("steps"):
        pairs.append(("Steps", f"{exact(budget['steps'])} for every structure and seed"))
    if budget.get("batch_size"):
        pairs.append(("Batch", f"{exact(budget['batch_size'])} examples"))
    if budget.get("seeds"):
        pairs.append(("Seeds", ", ".join(map(str, budget["seeds"]))))
    if budget.get("minutes"):
        pairs.append(("Time allowed", f"{short(budget['minutes'])} minutes"))
    if results.get("rule"):
        pairs.append(("Told apart", results["rule"]))
    if results.get("left_out"):
        pairs.append(("Not compared", f"{', '.join(map(str, results['left_out']))}; --all adds them"))
    pairs.append(("Spread", "± one standard deviation over the seeds"))
    pairs.append(
        ("Step time", "one step of the stream, batch of 1, one pinned thread; p50, p95 and p99 over many steps")
    )
    pairs.append(
        (
            "Bold",
            "the best where it can be told apart: scores by their seeds, step times by a p95 below the next p50",
        )
    )
    if results.get("chance") is not None:
        pairs.append(
            ("Constant guess", f"{scale.full(results['chance'])} on the test part, from one answer for every example")
        )
    return _part("method", "How it was measured", "data and budget", _pairs(pairs))


def _environment(results: dict[str, Any]) -> str:
    env = [(k if k == "cpu" else k.capitalize(), v) for k, v in (results.get("env") or {}).items() if v is not None]
    env = [("CPU" if k == "cpu" else k, v) for k, v in env]
    if results.get("created"):
        env.append(("Made", str(results["created"]).replace("T", " ")))
    body = _pairs(env)
    if results.get("command"):
        body += f"<p>This command makes the page again:</p><pre tabindex='0'>{esc(results['command'])}</pre>"
    return _part("environment", "Environment and command", "to make this page again", body)


def _figure(chart: Chart, caption: str, key: bool = False) -> str:
    marks = ""
    if key:
        drawn = {d["family"] for d in chart["dots"]}
        names = [*FAMILIES, OTHER.name]
        marks = "".join(f"<li>{mark(n)}{esc(n)}</li>" for n in names if n in drawn)
        marks = f'<ul class="key" aria-label="Families">{marks}</ul>'
    return (
        f'<figure><div class="chart" id="chart-{esc(chart["id"])}" role="img" aria-label="{esc(chart["alt"])}"></div>'
        f"<figcaption>{marks}{esc(caption)}</figcaption></figure>"
    )


def _whole(rows: list[Row]) -> str:
    """What a step is where it is not one frame, for the captions of step times."""
    steps: dict[str, list[str]] = {}
    for row in rows:
        if row.get("step_ms_p50") is not None and row.get("step_of") not in (None, "one frame"):
            steps.setdefault(str(row["step_of"]), []).append(str(row["model"]))
    return "".join(f" A step of {', '.join(names)} is {what}." for what, names in steps.items())


def _left_out(rows: list[Row], chart: Chart, reasons: bool = True) -> str:
    drawn = {d["name"] for d in chart.get("dots", [])} | {s["name"] for s in chart.get("spans", [])}
    out = [r for r in rows if r["model"] not in drawn]
    if not out:
        return ""
    if not reasons:
        return " Not drawn, for the reasons in the table: " + ", ".join(str(r["model"]) for r in out) + "."
    return " Not drawn: " + "; ".join(f"{r['model']} ({why(r) or 'no score'})" for r in out) + "."


def _line_table(chart: Chart, across: str, show: Any) -> str:
    """The lines of a chart as a table: one row a line, at most eight places along the x axis."""
    places = sorted({x for line in chart["lines"] for x in line["x"]})
    if len(places) > 8:
        places = [places[round(i * (len(places) - 1) / 7)] for i in range(8)]
    headers = [(across, False), *((short(p) if p < 1000 else exact(p), True) for p in places)]
    body: list[list[Cell]] = []
    for line in chart["lines"]:
        found = dict(zip(line["x"], line["y"], strict=True))
        cells = [(found.get(p), show(found[p]) if p in found else "not recorded") for p in places]
        body.append([(line["name"], esc(line["name"])), *cells])
    title = chart["y"]["title"]
    inner = table(f"{chart['id']}-values", title, headers, body)
    return f'<details class="values"><summary>{esc(title)}, as a table</summary>{inner}</details>'


def _part(name: str, title: str, more: str, body: str, opened: bool = False) -> str:
    tail = f" <span>{esc(more)}</span>" if more else ""
    mode = " open" if opened else ""
    return f'<details class="part" id="{name}"{mode}><summary>{esc(title)}{tail}</summary>{body}</details>'


def _pairs(pairs: list[tuple[str, Any]]) -> str:
    def text(value: Any) -> str:
        if isinstance(value, list):
            return " x ".join(map(str, value))
        return exact(value) if isinstance(value, int) and not isinstance(value, bool) and value >= 1000 else str(value)

    return "<dl>" + "".join(f"<dt>{esc(k)}</dt><dd>{esc(text(v))}</dd>" for k, v in pairs) + "</dl>"


def _name(row: Row) -> str:
    return f"{mark(row.get('family'))}{esc(row['model'])}"
