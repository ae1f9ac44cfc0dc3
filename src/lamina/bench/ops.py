"""The table of speed: every row is gated, then timed beside its peers, then held against the machine's own limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import Any

import torch

from lamina.bench.gate import BOUND, agreement, judge
from lamina.bench.limits import Limits, measure
from lamina.bench.peer import Peer
from lamina.bench.row import Row
from lamina.bench.timing import interleaved, rounds_within
from lamina.ops._native.again import forget
from lamina.ops.registry import Op
from lamina.train.machine import environment

__all__ = ["PRODUCTS", "bench_rows", "choices"]

PRODUCTS = "matrix products alone"
BURST = 10  # steps a turn: a stream has its weights in the cache
SECONDS = 6.0  # of timing a measurement: sixteen of them and the gates stay within five minutes


def bench_rows(
    rows: Sequence[Row],
    *,
    peers: bool = False,
    rounds: int | None = None,
    limits: Limits | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Gates all rows first; if one is red no time is taken, and `red` says which.

    rounds: of interleaved calls, default as many as fit into SECONDS a measurement. limits: the machine's, default
    measured now. Microseconds, medians and the 5th
    and 95th percentile; ratio = the fastest peer's median over ours; share = the least time that the machine's measured
    rates allow over ours.
    """
    gated = [_gated(row, peers, tell) for row in rows]
    red = [
        f"{row.title}: {found['gate']['red']}" for row, found in zip(rows, gated, strict=True) if found["gate"]["red"]
    ]
    result: dict[str, Any] = {"red": red, "policy": _POLICY, "peer_bound": BOUND, "env": environment()}
    if red:
        return {**result, "rows": gated}
    tell("the machine's limits")
    limits = limits or measure()
    result["limits"] = limits.as_dict()
    for row, found in zip(rows, gated, strict=True):
        _time(row, found, rounds, limits, tell)
    result["rows"] = gated
    return result


_POLICY = "error <= 4 max(the definition's float32 error, eps max|truth|), truth = the definition in float64"


def _gated(row: Row, peers: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    """What stands in the result of a row before anything is timed."""
    tell(f"{row.title}: the gate")
    found: dict[str, Any] = {"name": row.name, "shape": row.shape, "gate": {}, "peers": [], "timings": []}
    found["gate"] = judge(row.case, gradients=row.trains).as_dict()
    for peer in row.peers if peers and not found["gate"]["red"] else ():
        tell(f"{row.title}: {peer.name} beside ours")
        found["peers"].append(_beside(row, peer))
    return found


def _beside(row: Row, peer: Peer) -> dict[str, Any]:
    """Whether a peer is there and computes the same."""
    about = {"name": peer.name, "version": None, "difference": None, "reason": peer.missing(), "note": peer.note}
    if about["reason"]:
        return about
    about["version"] = peer.version
    try:
        seen = agreement(row.case(torch.float32, None), peer, gradients=row.trains)
    except Exception as error:  # foreign code, of any version: the others go on
        first, _, _ = str(error).partition("\n")
        return {**about, "reason": f"it fails: {type(error).__name__}: {first}"}
    difference = seen.difference if isfinite(seen.difference) else None  # JSON has no inf
    return {**about, "difference": difference, "reason": seen.reason}


def _time(row: Row, found: dict[str, Any], rounds: int | None, limits: Limits, tell: Callable[[str], None]) -> None:
    """Adds one timing for each of the row's targets."""
    fit = {about["name"] for about in found["peers"] if not about["reason"]}
    ours = row.case(torch.float32, None)
    cases = {"lamina": ours} | {peer.name: peer.case(ours) for peer in row.peers if peer.name in fit}
    if row.products:
        cases[PRODUCTS] = row.products()
    for what, target in row.targets.items():
        tell(f"{row.title}: {what}")
        calls = {
            name: case.training() if what == "forward+backward" else case.forward() for name, case in cases.items()
        }
        with choices() as chosen:
            calls["lamina"]()
        burst = BURST if what == "step" else 1
        count = rounds or rounds_within(calls, SECONDS / burst)
        times = interleaved(calls, count, warmup=int(rounds is not None), burst=burst)
        best = min(fit, key=lambda n: times[n].median, default=None)
        ratio = times[best].median / times["lamina"].median if best else None
        least, bound_by = row.work[what].least(limits)
        found["timings"].append(
            {
                "what": what, "rounds": count, "implementations": chosen,
                "times": {name: t.as_dict() for name, t in times.items()},
                "best_peer": best, "ratio": ratio, "must": target.must, "aim": target.aim,
                "met": target.met(ratio) if ratio else None,
                "work": row.work[what].as_dict(), "least_us": 1e6 * least, "bound_by": bound_by,
                "share": 1e6 * least / times["lamina"].median,
            }
        )  # fmt: skip


@contextmanager
def choices() -> Iterator[dict[str, dict[str, Any]]]:
    """Which implementation each op takes inside the block, and every refusal of the others."""
    plain, seen = Op.choose, {}

    def choose(self: Op, impl: str, *inputs: Any) -> Any:
        taken = plain(self, impl, *inputs)
        seen[self.name] = {"chosen": taken.name, "refused": {n: r for n, r in self.explain(*inputs).items() if r}}
        return taken

    Op.choose = choose
    forget()
    try:
        yield seen
    finally:
        Op.choose = plain
