"""The report's pictures of what a state can hold: score against state bytes, and against what is asked of it."""

from __future__ import annotations

from typing import Any

from lamina.compare import report_charts as charts
from lamina.compare.report_families import family
from lamina.compare.report_lines import dash, memory
from lamina.compare.report_pieces import figure, line_table, part
from lamina.compare.report_rows import why
from lamina.compare.report_text import Scale, bytes_text, exact

__all__ = ["asked", "is_recall", "lead", "memory_text"]

Row = dict[str, Any]
Chart = dict[str, Any]


def is_recall(results: dict[str, Any]) -> bool:
    """Whether the data asks what a state remembers, so that the page begins with the states."""
    found = results.get("data") or {}
    return found.get("kind") == "tokens" and found.get("task", "answer") == "answer" and not found.get("labels")


def lead(results: dict[str, Any], rows: list[Row], scale: Scale) -> tuple[str, list[Chart]] | None:
    """Score against state bytes, and beside it state bytes against the length of the stream; None without a state."""
    placed = [row for row in rows if row.get("score") is not None and row.get("state_bytes")]
    lines = memory(_plain(rows))
    if not placed or lines is None:
        return None
    dots = charts.against(results, placed, scale, "state_bytes", "State of one stream", "bytes")
    dots["id"] = "state"
    both = len({bool(row.get("short_conv")) for row in placed}) > 1
    bare = {row["model"] for row in placed if both and not row.get("short_conv")}
    for dot in dots["dots"]:
        dot["hollow"] = dot["name"] in bare
    seeds = len((results.get("budget") or {}).get("seeds") or [])
    text = f"{'Higher' if scale.better == 'higher' else 'Lower'} and further left is better. "
    text += f"Upright bars: one standard deviation over {seeds} seeds." if seeds > 1 else "One seed: no spread."
    if both:
        text += " Filled: with a short convolution; hollow: the same structure without one."
    steps = (results.get("budget") or {}).get("steps")
    if steps:
        text += f" It is what {exact(steps)} steps have taught, which may be less than a state could hold."
    out = [row["model"] for row in rows if row not in placed]
    if out:
        text += f" Not drawn, for the reasons in the table: {', '.join(out)}."
    figures = figure(dots, text, key=True) + figure(lines, memory_text(lines, _plain(rows)))
    return f'<div class="pair">{figures}</div>{line_table(lines, "Frames", bytes_text)}', [dots, lines]


def memory_text(chart: Chart, rows: list[Row]) -> str:
    """What the memory picture shows, in words."""
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
    return text


def asked(results: dict[str, Any], rows: list[Row], scale: Scale, made: list[Chart]) -> str:
    """Score against the number that the further test parts differ in: one chart, or one with and one without the short
    convolution.
    """
    known = [row for row in rows if row.get("probes")]
    groups = {
        "without": [row for row in known if not row.get("short_conv")],
        "with": [row for row in known if row.get("short_conv")],
    }
    groups = {name: members for name, members in groups.items() if members}
    values = [s * scale.factor for row in known for _, scores in row["probes"] for s in scores]
    figures = tables = ""
    text = "One network answers all of these. Line: the mean over the seeds; band: from the least to the most."
    for name, members in groups.items():
        chart = _asked(results, members, scale, values)
        chart["id"] = f"asked-{name}"
        if len(groups) > 1:
            chart["y"]["title"] += f" {name} a short convolution"
        made.append(chart)
        figures += figure(chart, text)
        tables += line_table(chart, str(results["probe"]).capitalize(), lambda v: scale.show(v / scale.factor))
    if not figures:
        return ""
    more = f"{scale.name.lower()} against {results['probe']}"
    return part("asked", "How much is asked", more, f'<div class="pair">{figures}</div>{tables}', opened=True)


def _asked(results: dict[str, Any], rows: list[Row], scale: Scale, values: list[float]) -> Chart:
    lines = []
    for row in rows:
        points = [(n, sum(scores) / len(scores), min(scores), max(scores)) for n, scores in row["probes"]]
        hover = [f"{row['model']}, {exact(n)} {results['probe']}: {scale.full(mean)}" for n, mean, *_ in points]
        lines.append(
            {
                "name": row["model"],
                "family": family(row.get("family")).name,
                "x": [n for n, *_ in points],
                "y": [mean * scale.factor for _, mean, _, _ in points],
                "lo": [low * scale.factor for _, _, low, _ in points],
                "hi": [high * scale.factor for _, _, _, high in points],
                "hover": hover,
            }
        )
    dash(lines)
    numbers = [n for line in lines for n in line["x"]]
    return {
        "alt": f"{scale.name} against {results['probe']}, one line for each structure. A table with the same follows.",
        "x": {
            "title": f"{str(results['probe']).capitalize()} (log scale)",
            "log": True,
            "kind": "count",
            "range": charts.padded(numbers, True, 0.02),
            "ticks": sorted(set(numbers)),
        },
        "y": {"title": scale.title, "log": False, "kind": "plain", "range": charts.padded(values, False, 0.04)},
        "lines": lines,
        "refs": [],
    }


def _plain(rows: list[Row]) -> list[Row]:
    """One row a structure: the short convolution adds a few frames to its state and would double every line."""
    return [row for row in rows if not row.get("short_conv")] or rows
