"""The report's line pictures as plain data: learning curves, and state bytes against the length of the stream."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from lamina.compare.report_charts import padded
from lamina.compare.report_families import family
from lamina.compare.report_text import Scale, bytes_text, exact, short, three

__all__ = ["curve", "dash", "memory"]

Row = dict[str, Any]
Chart = dict[str, Any]
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")  # tell lines of one family apart
BINS = 30  # points a curve: more would draw the noise of single batches


def curve(results: dict[str, Any], rows: list[Row], scale: Scale, what: str) -> Chart | None:
    """The "loss" or the "dev" score against training steps: the mean over the seeds, and from the least to the most."""
    dev = what == "dev"
    factor = scale.factor if dev else 1.0
    lines = []
    for row in rows:
        points = _over_seeds(results.get("curves", {}).get(row["model"]) or [], row, what)
        if not points:
            continue
        died = row.get("status") == "diverged"
        lines.append(
            {
                "name": row["model"] + (" (diverged)" if died else ""),
                "family": family(row.get("family")).name,
                "x": [p[0] for p in points],
                "y": [p[1] * factor for p in points],
                "lo": [p[2] * factor for p in points],
                "hi": [p[3] * factor for p in points],
                "hover": [f"{row['model']}, step {exact(p[0])}: {_shown(p[1], scale, dev)}" for p in points],
                "dead": died,
            }
        )
    lines = [line for line in lines if len(line["x"]) > 1]  # a single point is no curve
    if not lines:
        return None
    dash(lines)
    ys = [v for line in lines for v in line["lo"] + line["hi"]]
    log = (not dev or scale.suffix != "%") and min(ys) > 0 and max(ys) > 10 * min(ys)
    refs = []
    chance = results.get("chance")
    at, span = (chance or 0.0) * factor, max(ys) - min(ys)
    near = min(ys) - span <= at <= max(ys) + span  # else it would flatten the curves; the table names it too
    if dev and chance is not None and near and (chance > 0 or not log):
        refs = [{"axis": "y", "at": at, "label": f"constant guess {short(at)}{' %' if scale.suffix == '%' else ''}"}]
        ys.append(at)
    title = f"{scale.title} on the validation part" if dev else "Training loss"
    return {
        "id": f"curve-{what}",
        "alt": f"{title} against training steps, one line for each structure. A table with the same numbers follows.",
        "x": {"title": "Training step", "log": False, "kind": "count", "range": _steps(lines)},
        "y": {
            "title": title + (" (log scale)" if log else ""),
            "log": log,
            "kind": "plain",
            "range": padded(ys, log, 0.04),
        },
        "lines": lines,
        "refs": refs,
    }


def memory(rows: list[Row]) -> Chart | None:
    """State bytes against frames heard, both axes logarithmic, with the cache of full attention as reference."""
    lines = []
    for row in rows:
        points = [(n, b) for n, b in row.get("state_curve") or [] if n and b and n > 0 and b > 0]
        if points:
            lines.append(_memory_line(row["model"], family(row.get("family")).name, points))
    if not lines:
        return None
    dash(lines)
    frames = sorted({n for line in lines for n in line["x"]})
    reference = _full_cache(rows, frames)
    if reference:
        lines.append(reference)
    ys = [b for line in lines for b in line["y"]]
    return {
        "id": "memory",
        "alt": "State bytes against frames in the stream, both on log scales. A table with the same numbers follows.",
        "x": {
            "title": "Frames in the stream (log scale)",
            "log": True,
            "kind": "count",
            "range": padded(frames, True, 0.0),
        },
        "y": {
            "title": "State of one stream (log scale)",
            "log": True,
            "kind": "bytes",
            "range": padded(ys, True, 0.06),
        },
        "lines": lines,
        "refs": [],
    }


def _memory_line(name: str, group: str | None, points: list[tuple[float, float]]) -> Chart:
    return {
        "name": name,
        "family": group,
        "x": [n for n, _ in points],
        "y": [b for _, b in points],
        "hover": [f"{name}, {exact(n)} frames: {bytes_text(b)}" for n, b in points],
    }


def _full_cache(rows: list[Row], frames: list[float]) -> Chart | None:
    """What a transformer of the same size would keep if it never forgot: keys and values, float32, every layer."""
    for row in rows:
        config = row.get("config") or {}
        width, layers = config.get("d_model"), config.get("n_layers")
        if row.get("family") == "attention" and isinstance(width, int) and isinstance(layers, int):
            each = 2 * layers * width * 4
            line = _memory_line("full cache", None, [(n, n * each) for n in frames])
            line["about"] = (
                f"{row['model']} with an unbounded cache: 2 x {layers} layers x {width} wide x 4 bytes a frame"
            )
            return line
    return None


def _over_seeds(runs: list[dict[str, Any]], row: Row, what: str) -> list[tuple[float, float, float, float]]:
    """(step, mean, least, most) over the runs at the chosen learning rate, in at most BINS bins of steps."""
    chosen = [run for run in runs if run.get("lr") == row.get("lr")] or runs
    points = [(n, v) for run in chosen for n, v in run.get(what) or [] if n is not None and v is not None]
    if not points:
        return []
    last = max(n for n, _ in points)
    size = math.ceil(last / BINS) if len({n for n, _ in points}) > BINS else 0
    means: dict[float, list[float]] = defaultdict(
        list
    )  # each seed's own mean in a bin, so that batch noise is no spread
    for run in chosen:
        own: dict[float, list[float]] = defaultdict(list)
        for n, v in run.get(what) or []:
            if n is not None and v is not None:
                own[min(last, (n // size + 0.5) * size) if size else n].append(v)
        for n, values in own.items():
            means[n].append(sum(values) / len(values))
    return [(n, sum(vs) / len(vs), min(vs), max(vs)) for n, vs in sorted(means.items())]


def dash(lines: list[Chart]) -> None:
    """Gives lines of one family dashes that tell them apart."""
    seen: dict[str, int] = defaultdict(int)
    for line in lines:
        line["dash"] = DASHES[seen[line["family"]] % len(DASHES)]
        seen[line["family"]] += 1


def _steps(lines: list[Chart]) -> list[float]:
    xs = [x for line in lines for x in line["x"]]
    return [min(0, *xs), max(xs)]


def _shown(value: float, scale: Scale, dev: bool) -> str:
    return scale.full(value) if dev else three(value)
