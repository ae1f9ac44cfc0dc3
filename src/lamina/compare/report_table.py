"""The report's tables: the comparison itself, and a plain sortable table for the details."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lamina.compare.report_families import mark
from lamina.compare.report_rows import best_score, best_step, missing, why
from lamina.compare.report_text import Scale, esc, exact, short, three, unit

__all__ = ["comparison", "table"]

Row = dict[str, Any]
WIDE = 2  # a run of this many missing cells has room for the whole reason


@dataclass(frozen=True)
class Column:
    """A column: its header with the unit, its sort key, and how a row's value is shown (safe HTML)."""

    title: str
    key: str
    show: Callable[[Row], str]
    number: bool = True


def comparison(results: dict[str, Any], rows: list[Row], scale: Scale) -> str:
    """The main table: every structure, those that could not run included, with the reason in place of the values."""
    columns = _columns(results, rows, scale)
    way = "descending" if scale.better == "higher" else "ascending"
    head = _head([("Structure", False), *((c.title, c.number) for c in columns)], {1: way})
    body = "".join(_line(row, columns) for row in rows)
    return _box("rows", "The comparison, a row for each structure", head, body)


def table(name: str, caption: str, headers: list[tuple[str, bool]], rows: list[list[tuple[Any, str]]]) -> str:
    """A sortable table. headers: (title, is it a number); rows: cells of (sort value, safe HTML)."""
    body = "".join(
        f'<tr data-sort="{_keys([value for value, _ in row])}">'
        + "".join(
            f'<th scope="row">{text}</th>' if i == 0 else f"<td{_num(number)}>{text}</td>"
            for i, ((_, text), (_, number)) in enumerate(zip(row, headers, strict=True))
        )
        + "</tr>"
        for row in rows
    )
    return _box(name, caption, _head(headers), body)


def _columns(results: dict[str, Any], rows: list[Row], scale: Scale) -> list[Column]:
    best, fastest = best_score(results), best_step(rows)
    per_frame, frame_unit = unit(_values(rows, "flops_per_frame"))
    per_example, example_unit = unit(_values(rows, "flops_per_example"))
    state, state_unit = unit(_values(rows, "state_bytes"))

    def score(row: Row) -> str:
        text = scale.show(row["score"], row.get("score_sd"))
        return f"<strong>{text}</strong>" if row["model"] == best else text

    def step(row: Row) -> str:
        text = three(row["step_ms_p50"])
        return f"<strong>{text}</strong>" if row["model"] == fastest else text

    def plain(key: str, divisor: float = 1.0) -> Callable[[Row], str]:
        return lambda row: three(row[key] / divisor)

    return [
        Column(scale.title, "score", score),
        *(_probe(n, str(results.get("probe")), scale) for n in _numbers(rows)),
        Column("Weights", "params", lambda row: exact(row["params"])),
        Column(f"{frame_unit}FLOP a\u00a0frame", "flops_per_frame", plain("flops_per_frame", per_frame)),
        Column(f"{example_unit}FLOP an\u00a0example", "flops_per_example", plain("flops_per_example", per_example)),
        Column("Training, s", "train_s", plain("train_s")),
        Column("Step p50, ms", "step_ms_p50", step),
        Column("Step p95, ms", "step_ms_p95", plain("step_ms_p95")),
        Column("Step p99, ms", "step_ms_p99", plain("step_ms_p99")),
        Column("Latency, frames", "latency_frames", lambda row: short(row["latency_frames"])),
        Column(f"State, {state_unit}B", "state_bytes", plain("state_bytes", state)),
        Column("Sees the data as", "view", lambda row: esc(row["view"]), number=False),
    ]


def _probe(n: int, of: str, scale: Scale) -> Column:
    """The mean score on one of the further test parts; the spread stands in its picture."""
    return Column(f"{exact(n)} {of}", f"probe-{n}", lambda row: scale.show(row[f"probe-{n}"]))


def _numbers(rows: list[Row]) -> list[int]:
    return next(([n for n, _ in row["probes"]] for row in rows if row.get("probes")), [])


def _line(row: Row, columns: list[Column]) -> str:
    reason, told, cells, at = why(row), False, [], 0
    while at < len(columns):
        run = 0
        while at + run < len(columns) and row.get(columns[at + run].key) is None:
            run += 1
        if run:
            full = run >= WIDE and bool(reason) and not told
            told = told or full
            span = f' colspan="{run}"' if run > 1 else ""
            cells.append(f'<td class="none"{span}>{esc(reason if full else missing(row))}</td>')
            at += run
        else:
            cells.append(f"<td{_num(columns[at].number)}>{columns[at].show(row)}</td>")
            at += 1
    note = "" if told or not reason else f'<small class="note">{esc(reason)}</small>'
    title = esc(", ".join(str(row[k]) for k in ("paper", "year") if row.get(k)))
    name = f'<th scope="row" title="{title}">{mark(row.get("family"))}{esc(row["model"])}{note}</th>'
    keys = _keys([row["model"], *(row.get(c.key) for c in columns)])
    return f'<tr data-sort="{keys}" data-status="{esc(row.get("status", "done"))}">{name}{"".join(cells)}</tr>'


def _head(headers: list[tuple[str, bool]], ways: dict[int, str] | None = None) -> str:
    cells = "".join(
        f'<th scope="col" aria-sort="{(ways or {}).get(i, "none")}"{_num(number)}>'
        f'<button type="button">{esc(_together(title))}</button></th>'
        for i, (title, number) in enumerate(headers)
    )
    return f"<tr>{cells}</tr>"


def _together(title: str) -> str:
    """A header whose unit does not stand alone on a line."""
    words, comma, last = title.rpartition(", ")
    return f"{words},\u00a0{last}" if comma and len(last) <= 3 else title


def _box(name: str, caption: str, head: str, body: str) -> str:
    label = esc(caption)
    return (
        f'<div class="box" role="region" tabindex="0" aria-label="{label}"><table id="{esc(name)}" class="sortable">'
        f'<caption class="unseen">{label}. The column headers sort.</caption>'
        f"<thead>{head}</thead><tbody>{body}</tbody></table></div>"
    )


def _keys(values: list[Any]) -> str:
    return esc(json.dumps(values, ensure_ascii=False, allow_nan=False))


def _num(number: bool) -> str:
    return ' class="num"' if number else ""


def _values(rows: list[Row], key: str) -> list[float]:
    return [row[key] for row in rows if row.get(key) is not None]
