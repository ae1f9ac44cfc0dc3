"""The rows of a comparison as the report reads them: ordered, with a reason wherever a value is missing."""

from __future__ import annotations

import statistics
from typing import Any

__all__ = ["STATUS", "best_score", "best_step", "missing", "order", "probed", "why"]

Row = dict[str, Any]

STATUS = ("done", "diverged", "infeasible", "cannot take the data")  # the order in which rows stand


def order(rows: list[Row], better: str) -> list[Row]:
    """Finished rows by score, best first; then those that did not finish, by status and name."""
    sign = -1.0 if better == "higher" else 1.0

    def key(row: Row) -> tuple[int, int, float, str]:
        status = str(row.get("status", "done"))
        rank = STATUS.index(status) if status in STATUS else len(STATUS)
        score = row.get("score")
        return rank, score is None, sign * score if score is not None else 0.0, str(row.get("model"))

    return sorted(rows, key=key)


def probed(row: Row) -> Row:
    """The row with its further test parts as columns: "probe-8" is the mean score of the part of 8."""
    return row | {f"probe-{n}": statistics.fmean(scores) for n, scores in row.get("probes") or []}


def why(row: Row) -> str:
    """The row's status or limit with its reason, in words; "" for a row that finished and streams."""
    reason = str(row.get("reason") or "").strip().rstrip(".")
    status = str(row.get("status", "done"))
    head = "does not stream" if status == "done" and row.get("streams") is False else "" if status == "done" else status
    if not head or reason.lower().startswith(head):
        return reason
    return f"{head}: {reason}" if reason else head


def missing(row: Row) -> str:
    """What stands in the place of a value that this row has not."""
    if str(row.get("status", "done")) != "done":
        return str(row["status"])
    return "does not stream" if row.get("streams") is False else "not measured"


def best_score(results: dict[str, Any]) -> str | None:
    """The best model's name where it can be told apart from every other, else None.

    results["best"] (a name or None) decides where it is given; else Welch's t-test over the seeds, p < 0.05.
    """
    if "best" in results:
        return results["best"]
    rows = [r for r in order(results["rows"], str(results.get("better"))) if _finished(r)]
    if len(rows) < 2:
        return None
    first = rows[0]
    return first["model"] if all(_apart(first, other) for other in rows[1:]) else None


def best_step(rows: list[Row]) -> str | None:
    """The model whose p95 step time is below every other's p50, else None."""
    timed = [r for r in rows if r.get("step_ms_p50") is not None and r.get("step_ms_p95") is not None]
    if len(timed) < 2:
        return None
    timed.sort(key=lambda r: r["step_ms_p50"])
    return timed[0]["model"] if timed[0]["step_ms_p95"] < timed[1]["step_ms_p50"] else None


def _finished(row: Row) -> bool:
    return row.get("status", "done") == "done" and row.get("score") is not None


def _apart(a: Row, b: Row) -> bool:
    first = [s for s in a.get("scores") or [] if s is not None]
    second = [s for s in b.get("scores") or [] if s is not None]
    if min(len(first), len(second)) < 2:
        return False
    if max(statistics.pstdev(first), statistics.pstdev(second)) < 1e-12:
        return first[0] != second[0]
    from scipy import stats  # comes with scikit-learn; slow to import

    return bool(stats.ttest_ind(first, second, equal_var=False).pvalue < 0.05)
