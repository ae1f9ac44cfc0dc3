"""The parts of the report page, each a piece of safe HTML: figures with captions, and the details that unfold."""

from __future__ import annotations

import json
from typing import Any

from lamina.compare import report_charts as charts
from lamina.compare.report_lines import curve, memory
from lamina.compare.report_pieces import figure, line_table, listed, named, part
from lamina.compare.report_recall import asked, is_recall, lead, memory_text
from lamina.compare.report_rows import why
from lamina.compare.report_table import table
from lamina.compare.report_text import Scale, bytes_text, esc, exact, short, three

__all__ = ["details", "first"]

Row = dict[str, Any]
Chart = dict[str, Any]
Cell = tuple[Any, str]


def first(results: dict[str, Any], rows: list[Row], scale: Scale) -> tuple[str, list[Chart]]:
    """The picture that proves the sentence, and its description for the drawing script."""
    if is_recall(results) and (states := lead(results, rows, scale)):
        return states
    return _tradeoff(results, rows, scale)


def _tradeoff(results: dict[str, Any], rows: list[Row], scale: Scale) -> tuple[str, list[Chart]]:
    chart = charts.tradeoff(results, rows, scale)
    if chart is None:
        return '<p class="empty">No structure has a score, so there is nothing to draw; the table says why.</p>', []
    steps = chart["x"]["title"].startswith("Time")
    seeds = len((results.get("budget") or {}).get("seeds") or [])
    up = f"Upright bars: one standard deviation over {seeds or 'the'} seeds." if seeds != 1 else "One seed: no spread."
    side = " To the right: up to the p95 of the step time, batch of 1 on one thread." if steps else ""
    better = "Higher" if scale.better == "higher" else "Lower"
    text = f"{better} and further left is better. {up}{side} Dot area: weights.{_whole(rows) if steps else ''}"
    return figure(chart, text + _left_out(rows, chart, reasons=False), key=True), [chart]


def details(results: dict[str, Any], rows: list[Row], scale: Scale) -> tuple[str, list[Chart]]:
    """Everything below the table, folded but for the pictures of the states, and the charts in it."""
    made: list[Chart] = []
    led = is_recall(results) and lead(results, rows, scale) is not None  # by the states
    parts = [
        asked(results, rows, scale, made),
        _step_time(results, rows, scale, made) if led else _memory(rows, made),
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


def _step_time(results: dict[str, Any], rows: list[Row], scale: Scale, made: list[Chart]) -> str:
    html, found = _tradeoff(results, rows, scale)
    made += found
    return part("time", "Score against step time", "what an answer costs", html)


def _memory(rows: list[Row], made: list[Chart]) -> str:
    chart = memory(rows)
    if chart is None:
        return ""
    made.append(chart)
    body = figure(chart, memory_text(chart, rows)) + line_table(chart, "Frames", bytes_text)
    return part("memory", "Memory", "state against the length of the stream", body, opened=True)


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
        figures += figure(chart, f"{text} Line: the mean over the seeds; band: from the least to the most.")
        values += line_table(chart, "Training step", short)
    if not figures:
        return ""
    return part(
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
        figures += figure(chart, text)
    return part("size", "Score against weights and FLOPs", "", f'<div class="pair">{figures}</div>') if figures else ""


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
    return part("latency", "Latency", "step time at p50, p95 and p99", figure(chart, text + _left_out(rows, chart)))


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
        body.append([(row["model"], named(row)), *cells])
    return part(
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
    return part("trials", "Each trial", f"{len(trials)} trainings", table("trials-table", "Each trial", headers, body))


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
                (row["model"], named(row)),
                (paper, esc(paper or "no paper named")),
                (rate, short(rate) if rate is not None else none),
                (dev, scale.show(dev) if dev is not None else none),
                (keys, f"<code>{esc(keys)}</code>" if keys else none),
            ]
        )
    return part(
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
    return part("method", "How it was measured", "data and budget", listed(pairs))


def _environment(results: dict[str, Any]) -> str:
    env = [(k if k == "cpu" else k.capitalize(), v) for k, v in (results.get("env") or {}).items() if v is not None]
    env = [("CPU" if k == "cpu" else k, v) for k, v in env]
    if results.get("created"):
        env.append(("Made", str(results["created"]).replace("T", " ")))
    body = listed(env)
    if results.get("command"):
        body += f"<p>This command makes the page again:</p><pre tabindex='0'>{esc(results['command'])}</pre>"
    return part("environment", "Environment and command", "to make this page again", body)


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
