"""Pieces of the report page, each safe HTML: a figure, a chart's numbers as a table, a part that unfolds, a list."""

from __future__ import annotations

from typing import Any

from lamina.compare.report_families import FAMILIES, OTHER, mark
from lamina.compare.report_table import table
from lamina.compare.report_text import esc, exact, short

__all__ = ["figure", "line_table", "listed", "named", "part"]

Row = dict[str, Any]
Chart = dict[str, Any]
Cell = tuple[Any, str]


def figure(chart: Chart, caption: str, key: bool = False) -> str:
    """The place where a chart is drawn, with its caption; key: and the marks of the families in it."""
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


def line_table(chart: Chart, across: str, show: Any) -> str:
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


def part(name: str, title: str, more: str, body: str, opened: bool = False) -> str:
    """A part of the details that unfolds; its name is its link."""
    tail = f" <span>{esc(more)}</span>" if more else ""
    mode = " open" if opened else ""
    return f'<details class="part" id="{name}"{mode}><summary>{esc(title)}{tail}</summary>{body}</details>'


def listed(pairs: list[tuple[str, Any]]) -> str:
    """Words and their values, one under the other."""

    def text(value: Any) -> str:
        if isinstance(value, list):
            return " x ".join(map(str, value))
        return exact(value) if isinstance(value, int) and not isinstance(value, bool) and value >= 1000 else str(value)

    return "<dl>" + "".join(f"<dt>{esc(k)}</dt><dd>{esc(text(v))}</dd>" for k, v in pairs) + "</dl>"


def named(row: Row) -> str:
    """A structure's name behind its family's mark."""
    return f"{mark(row.get('family'))}{esc(row['model'])}"
