"""results.csv: a row for each structure, numbers in full, statuses and reasons in words."""

from __future__ import annotations

import csv
import io
import json
from statistics import fmean
from typing import Any

__all__ = ["COLUMNS", "csv_text"]

COLUMNS = [
    "model",
    "family",
    "year",
    "status",
    "reason",
    "metric",
    "score",
    "score_sd",
    "scores",
    "probes",
    "seeds",
    "lr",
    "dev_score",
    "params",
    "flops_per_frame",
    "flops_per_example",
    "train_s",
    "step_ms_p50",
    "step_ms_p95",
    "step_ms_p99",
    "latency_frames",
    "state_bytes",
    "streams",
    "view",
    "paper",
    "config",
]


def csv_text(results: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The rows as CSV. A value that a row has not is empty; its status and reason say why.

    Text that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        full = {"status": "done", **row, "metric": results.get("metric")}
        full["probes"] = [f"{n}={fmean(scores)!r}" for n, scores in row.get("probes") or []] or None
        writer.writerow([_cell(full.get(name)) for name in COLUMNS])
    return out.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return ";".join(_cell(v) for v in value)
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True)
    text = str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
