"""The report's pictures as plain data: what is drawn where, in words and numbers; report_assets/charts.js draws them.

A chart is {"id", "alt", "x", "y", "dots", "lines", "refs", ...}; an axis {"title", "log", "kind", "range"}, where kind
("bytes", "count" or "plain") says how ticks are written, and perhaps "ticks", where they stand. Everything a pointer
shows stands in "hover" as text.
"""

from __future__ import annotations

import math
from typing import Any

from lamina.compare.report_families import FAMILIES, OTHER, family
from lamina.compare.report_rows import missing
from lamina.compare.report_text import Scale, bytes_text, exact, short, three

__all__ = ["against", "budget_refs", "families", "latency", "padded", "tradeoff"]

Row = dict[str, Any]
Chart = dict[str, Any]


def families(rows: list[Row]) -> dict[str, dict[str, str]]:
    """The looks of the families among these rows, for the drawing script."""
    names = {family(r.get("family")).name for r in rows}
    known = {**FAMILIES, OTHER.name: OTHER}
    return {n: {"colour": known[n].colour, "symbol": known[n].symbol} for n in known if n in names}


def tradeoff(results: dict[str, Any], rows: list[Row], scale: Scale) -> Chart | None:
    """Score against step time; where no step was timed, against FLOPs or weights. None without a single score.

    Finished rows without a step time stand in a column of their own at the right.
    """
    done = _scored(rows)
    if not done:
        return None
    ways = (
        ("step_ms_p50", "Time for one step, ms", "plain"),
        ("flops_per_example", "FLOP an example", "count"),
        ("params", "Weights", "count"),
    )
    way = next((w for w in ways if any(r.get(w[0]) for r in done)), None)
    if way is None:
        return None
    key, title, kind = way
    placed = [r for r in done if r.get(key)]
    aside = [r for r in done if r not in placed]
    chart = against(results, placed, scale, key, title, kind, everything=done)
    chart["id"] = "tradeoff"
    if aside:
        words = {missing(r) if key == "step_ms_p50" else "not measured" for r in aside}
        chart["aside"] = {"title": words.pop() if len(words) == 1 else "no step time", "count": len(aside)}
        chart["dots"] += [{**_dot(r, scale, done), "x": i, "aside": True} for i, r in enumerate(aside)]
    return chart


def against(
    results: dict[str, Any],
    rows: list[Row],
    scale: Scale,
    key: str,
    title: str,
    kind: str,
    everything: list[Row] | None = None,
) -> Chart:
    """Score, with its spread, against row[key]; log where the values span more than a factor of three."""
    everything = everything or _scored(rows)
    rows = [r for r in _scored(rows) if r.get(key) is not None]
    dots = [{**_dot(r, scale, everything, key == "step_ms_p50"), "x": r[key]} for r in rows]
    if key == "step_ms_p50":
        for dot, row in zip(dots, rows, strict=True):
            dot["xhi"] = row.get("step_ms_p95")
    xs = [d["x"] for d in dots] + [d["xhi"] for d in dots if d.get("xhi") is not None]
    log = key != "params" and min(xs) > 0 and (key == "step_ms_p50" or max(xs) > 3 * min(xs))
    y, refs, note = _score_axis(results, everything, scale)
    return {
        "id": key,
        "alt": f"{scale.name} of each structure against {title.lower()}. The table holds the same numbers.",
        "x": {
            "title": title + (" (log scale)" if log else ""),
            "log": log,
            "kind": kind,
            "range": padded(xs, log, 0.08),
        },
        "y": y,
        "dots": dots,
        "refs": refs,
        "note": note,
    }


def budget_refs(results: dict[str, Any], chart: Chart) -> None:
    """Marks the budget of weights, and what is within its tolerance, on a chart whose x axis is the weights."""
    budget = results.get("budget") or {}
    goal, tolerance = budget.get("params"), budget.get("tolerance") or 0.0
    if not goal:
        return
    band = [goal * (1 - tolerance), goal * (1 + tolerance)]
    chart["refs"].append({"axis": "x", "at": goal, "band": band})
    chart["x"]["title"] += f" (dashed: the budget, {exact(goal)})"
    chart["x"]["range"] = padded([d["x"] for d in chart["dots"]] + band, False, 0.08)


def latency(rows: list[Row]) -> Chart | None:
    """Step time of each structure: p50, p95 and p99 on one line each, fastest on top."""
    timed = [r for r in rows if r.get("step_ms_p50")]
    if not timed:
        return None
    timed.sort(key=lambda r: -r["step_ms_p50"])
    spans, every = [], []
    for row in timed:
        marks = [row[f"step_ms_{p}"] for p in ("p50", "p95", "p99") if row.get(f"step_ms_{p}") is not None]
        every += marks
        words = ", ".join(f"{p} {three(row[f'step_ms_{p}'])}" for p in ("p50", "p95", "p99") if row.get(f"step_ms_{p}"))
        spans.append(
            {"name": row["model"], "label": label(row), "family": family(row.get("family")).name, "marks": marks}
        )
        spans[-1]["hover"] = f"{row['model']}: {words} ms"
    return {
        "id": "latency",
        "alt": "Step time p50, p95 and p99 of each structure. The table on this page holds the same numbers.",
        "x": {
            "title": "Time for one step, ms (log scale)",
            "log": True,
            "kind": "plain",
            "range": padded(every, True, 0.06),
        },
        "y": {"names": [s["label"] for s in spans]},
        "spans": spans,
    }


def padded(values: list[float], log: bool, share: float) -> list[float]:
    """[least, most] with a share of the span added at both ends; in log10 where the axis is logarithmic."""
    points = [math.log10(v) for v in values] if log else values
    low, high = min(points), max(points)
    span = high - low
    least = 0.3 if log else max(abs(high), 1e-9) * 0.02
    pad = max(span * share, (least - span) / 2)
    return [low - pad, high + pad]


def _scored(rows: list[Row]) -> list[Row]:
    return [r for r in rows if r.get("status", "done") == "done" and r.get("score") is not None]


def label(row: Row) -> str:
    """The structure's name in a picture of step times; where a step is not of the stream, with what it is of."""
    whole = row.get("step_ms_p50") is not None and row.get("streams") is False
    return (
        f"{row['model']} ({str(row.get('step_of') or 'whole example').removeprefix('the ')})" if whole else row["model"]
    )


def _dot(row: Row, scale: Scale, everything: list[Row], timed: bool = False) -> Chart:
    low, high = _interval(row, scale)
    most = max((r.get("params") or 0 for r in everything), default=0)
    text = [f"{row['model']}: {scale.full(row['score'], row.get('score_sd'))}"]
    if row.get("params") is not None:
        text.append(f"{exact(row['params'])} weights")
    if row.get("step_ms_p50") is not None:
        of = f" for {row['step_of']}" if row.get("step_of") else ""
        text.append(f"step {three(row['step_ms_p50'])} ms{of}")
        if row.get("step_ms_p95") is not None:
            text[-1] += f" (p95 {three(row['step_ms_p95'])})"
    if row.get("flops_per_example") is not None:
        text.append(f"{exact(row['flops_per_example'])} FLOP an example")
    if row.get("state_bytes") is not None:
        text.append(f"state {bytes_text(row['state_bytes'])}")
    return {
        "name": row["model"],
        "label": label(row) if timed else row["model"],
        "family": family(row.get("family")).name,
        "y": row["score"] * scale.factor,
        "lo": low,
        "hi": high,
        "area": (row.get("params") or most) / most if most else 1.0,
        "hover": "\n".join(text),
    }


def _interval(row: Row, scale: Scale) -> tuple[float, float]:
    """One standard deviation to both sides, in shown units, never beyond what the metric can be."""
    sd = row.get("score_sd") or 0.0
    low, high = row["score"] - sd, row["score"] + sd
    if scale.suffix == "%":
        low, high = max(low, 0.0), min(high, 1.0)
    elif low <= 0 < row["score"]:
        low = min([s for s in row.get("scores") or [] if s is not None and s > 0] or [row["score"]])
    return low * scale.factor, high * scale.factor


def _score_axis(results: dict[str, Any], rows: list[Row], scale: Scale) -> tuple[Chart, list[Chart], str]:
    """(axis, reference lines, note): chance is a line where it is near, and a note where it would flatten the rest."""
    values = [v for r in rows for v in (*_interval(r, scale), r["score"] * scale.factor)]
    chance = results.get("chance")
    chance = chance * scale.factor if chance is not None else None
    log = scale.suffix != "%" and min(values) > 0 and max(values) > 10 * min(values)
    refs, note = [], ""
    if chance is not None:
        label = f"constant guess {short(chance)}{' %' if scale.suffix == '%' else ''}"
        span = max(values) - min(values)
        near = min(values) - span <= chance <= max(values) + span
        if near or (log and chance > 0):
            refs.append({"axis": "y", "at": chance, "label": label})
            values.append(chance)
        else:
            note = f"{'↓' if chance < min(values) else '↑'} {label}"
    axis = {"title": f"{scale.title} on the test part, {scale.better} is better", "log": log, "kind": "plain"}
    if log:
        axis["title"] += " (log scale)"
    axis["range"] = padded(values, log, 0.08)
    if note:  # which stands in a corner of the picture, below every dot
        axis["range"][0 if note[0] == "↓" else 1] += (axis["range"][1] - axis["range"][0]) * (
            -0.08 if note[0] == "↓" else 0.08
        )
    if scale.suffix == "%":  # no room above what can be reached, but for half a mark
        span = axis["range"][1] - axis["range"][0]
        axis["range"][1] = min(axis["range"][1], 100 + 0.04 * span)
    return axis, refs, note
