"""The results on a terminal: a line a measurement, then what they rest on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from lamina.bench.ops import PRODUCTS
from lamina.compare.report_text import bytes_text, short, three

__all__ = ["gate_lines", "growth_table", "notes", "stream_table", "table"]


WIDE = 120  # characters; narrower terminals go without the spread and the aim, and beside peers without the limit


def table(result: dict[str, Any], peers: bool, width: int = WIDE) -> Table:
    """Milliseconds of ours and of the fastest peer, their ratio beside what is asked, the share of the limit."""
    rows = [_cells(row, timing, peers, width >= WIDE) for row in result["rows"] for timing in row["timings"]]
    made = Table(box=None, pad_edge=False)
    for title in rows[0] if rows else ():
        if title in ("op and size", "fastest peer"):
            made.add_column(title)
        else:
            widest = max(len(title), *(len(row[title]) for row in rows))
            made.add_column(title, justify="left" if title in ("pass", "met") else "right", min_width=widest)
    before = ""
    for row in rows:
        name = row["op and size"]
        made.add_row(*[cell if cell != name or name != before else "" for cell in row.values()])
        before = name
    return made


def _cells(row: dict[str, Any], timing: dict[str, Any], peers: bool, wide: bool) -> dict[str, str]:
    """One line of the table, by the columns' titles."""
    ours, spread = _ms(timing["times"]["lamina"])
    cells = {"op and size": f"{row['name']} {row['shape']}", "pass": timing["what"].replace("forward+", "+ ")}
    cells["ours, ms"] = ours
    if wide:
        cells["5 to 95 %"] = spread
    if peers:
        best = timing["best_peer"]
        cells["fastest peer"] = best or "none agrees"
        cells["peer, ms"] = _ms(timing["times"][best])[0] if best else "none"
        cells["ratio"] = three(timing["ratio"]) if best else "none"
        cells["must"] = short(timing["must"])
        if wide:
            cells["aim"] = short(timing["aim"])
        cells["met"] = timing["met"] or "no"
    if wide or not peers:
        cells["of limit, %"] = f"{three(100 * timing['share'])} {timing['bound_by']:<5}"
    return cells


def gate_lines(result: dict[str, Any]) -> Iterator[str]:
    """What was compared before anything was timed."""
    for row in result["rows"]:
        gate = row["gate"]
        if gate["red"]:
            yield f"RED {row['name']} {row['shape']}: {gate['red']}"
        else:
            yield (
                f"{row['name']} {row['shape']}: within the policy, nearest {gate['tensor']} "
                f"({three(gate['error'])} of {three(gate['allowed'])})"
            )
        for peer in row["peers"]:
            if peer["difference"] is not None:
                known = f"differs by {three(peer['difference'])} of the largest value, at most {result['peer_bound']:g}"
                yield f"  {peer['name']} ({peer['version']}): {peer['reason'] or known}" + _behind(peer["note"])
            else:
                about = (
                    peer["reason"]
                    if peer["version"] is None
                    else f"{peer['name']} ({peer['version']}): {peer['reason']}"
                )
                yield f"  {about}"


def notes(result: dict[str, Any]) -> Iterator[str]:
    """Which implementations ran and why not the others; the machine."""
    seen: dict[str, None] = {}
    for row in result["rows"]:
        for timing in row["timings"]:
            for op, choice in timing["implementations"].items():
                refused = "; ".join(f"{name}: {reason}" for name, reason in choice["refused"].items())
                seen[f"{op}: {choice['chosen']}" + (f" (refused: {refused})" if refused else "")] = None
    yield from seen
    yield from _products(result)
    limits, env = result["limits"], result["env"]
    yield (
        f"limits: sgemm {short(limits['sgemm_gflops'])} GFLOP/s, copy {short(limits['copy_gb_s'])} GB/s, "
        f"exp {short(limits['exp_g_s'])} G/s ({limits['exp_by']})"
    )
    yield f"{env['cpu']}, {env['threads']} threads, torch {env['torch']}, lamina {env['lamina']}"


def _products(result: dict[str, Any]) -> Iterator[str]:
    for row in result["rows"]:
        for timing in row["timings"]:
            if PRODUCTS in timing["times"]:
                share = timing["times"][PRODUCTS]["us_p50"] / timing["times"]["lamina"]["us_p50"]
                which = f"{row['name']} {row['shape']} {timing['what']}"
                yield f"{which}: its {PRODUCTS} take {three(100 * share)} % of the time"


def growth_table(result: dict[str, Any]) -> Table:
    """Time and memory of forward and backward as the length doubles."""
    made = _table(("op",), ("frames", "ms", "ratio", "MB", "ratio"))
    for op in result["ops"]:
        for i, point in enumerate(op["points"]):
            memory = three(point["peak_bytes"] / 1e6) if point["peak_bytes"] else "unknown"
            made.add_row(
                op["name"] if i == 0 else "", f"{point['frames']:,}", three(point["us_p50"] / 1e3),
                _ratio(point["time_ratio"]), memory, _ratio(point["memory_ratio"]),
            )  # fmt: skip
    return made


def stream_table(result: dict[str, Any]) -> Table:
    """The step of one frame and the state's bytes after so many frames of one stream."""
    made = _table(("model",), ("age, frames", "step us", "5 to 95 %", "state"))
    for stream in result["streams"]:
        for i, point in enumerate(stream["points"]):
            made.add_row(
                stream["name"] if i == 0 else "", f"{point['frames']:,}", three(point["us_p50"]),
                f"{three(point['us_p5'])} to {three(point['us_p95'])}", bytes_text(point["state_bytes"]),
            )  # fmt: skip
    return made


def _table(words: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    made = Table(box=None, pad_edge=False)
    for title in words:
        made.add_column(title, no_wrap=True)
    for title in numbers:
        made.add_column(title, justify="right", no_wrap=True)
    return made


def _ms(times: dict[str, float]) -> tuple[str, str]:
    return three(times["us_p50"] / 1e3), f"{three(times['us_p5'] / 1e3)} to {three(times['us_p95'] / 1e3)}"


def _ratio(value: float | None) -> str:
    return "" if value is None else three(value)


def _behind(note: str) -> str:
    return f"; {note}" if note else ""
