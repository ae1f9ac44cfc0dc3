"""Growth: time and memory of the ops as lengths double, and the step of a model as its stream grows old."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from lamina.bench.memory import peaks
from lamina.bench.op_rows import delta_rule_row, retention_row, selective_scan_row
from lamina.bench.row import Row
from lamina.bench.timing import interleaved
from lamina.compare.report_text import bytes_text, three
from lamina.core import Layer, Seq, State
from lamina.core import state as trees
from lamina.core.cost import example
from lamina.models import MODELS, create
from lamina.train.machine import environment

__all__ = ["DOUBLING", "GROWING", "bench_growth", "op_growth", "stream_growth"]

DOUBLING = 2.15  # at most, time for twice the frames
LONGEST = 65_536
GROWING: dict[str, Callable[[int], Row]] = {
    "selective_scan": lambda T: selective_scan_row(1, T, 512, 16, {}),
    "delta_rule": lambda T: delta_rule_row(1, T, 4, 64, {}),
    "retention": lambda T: retention_row(1, T, 4, 64, {}),
}
FAMILIES = ("state space", "retention and delta")


def bench_growth(frames: int = 1_000_000, *, tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """The ops at 512 frames and doublings up to LONGEST, the streams at tenfold ages up to `frames`."""
    lengths = [512 << i for i in range(8) if 512 << i <= min(LONGEST, frames)]
    ages = [age for age in (1_000, 10_000, 100_000, 1_000_000, 10_000_000) if age < frames] + [frames]
    names = [row.name for row in MODELS.values() if row.kind == "model" and row.family in FAMILIES]
    ops, streams = [], []
    for name in GROWING:
        tell(f"{name}: {lengths[0]} to {lengths[-1]:,} frames")
        ops.append(op_growth(name, lengths))
    for name in names:
        tell(f"{name}: a stream of {frames:,} frames")
        streams.append(stream_growth(name, create(name, d_model=64), ages))  # type: ignore[arg-type]
    return {"rule": DOUBLING, "ops": ops, "streams": streams, "env": environment()}


def op_growth(name: str, lengths: Sequence[int], rounds: int = 7) -> dict[str, Any]:
    """Forward and backward of one batch row at each length: microseconds, peak bytes beyond the inputs, ratios."""
    cases = [GROWING[name](n).case(torch.float32, None) for n in lengths]
    repeats = [min(16, lengths[-1] // n) for n in lengths]  # a short call's time needs more than one sample
    calls = {str(n): _repeated(c.training(), r) for n, c, r in zip(lengths, cases, repeats, strict=True)}
    times = interleaved(calls, rounds, warmup=1)
    spent = [times[str(n)].median / r for n, r in zip(lengths, repeats, strict=True)]
    memory = peaks(name, lengths)
    known = None if isinstance(memory, str) else memory
    points = [
        {
            "frames": n, "us_p50": round(spent[i], 1), "time_ratio": spent[i] / spent[i - 1] if i else None,
            "peak_bytes": known[i] if known else None,
            "memory_ratio": known[i] / known[i - 1] if known and i and known[i - 1] else None,
        }
        for i, n in enumerate(lengths)
    ]  # fmt: skip
    worst = max((p["time_ratio"] for p in points if p["time_ratio"]), default=0.0)
    per_frame = (known[-1] - known[-2]) / (lengths[-1] - lengths[-2]) if known and len(known) > 1 else None
    held = sum(t.numel() * t.element_size() for t in cases[-1].leaves.values()) / lengths[-1]
    said = f"{bytes_text(per_frame)} a frame" if per_frame else str(memory)
    return {
        "name": name, "size": GROWING[name](lengths[-1]).shape, "points": points, "worst_time_ratio": worst,
        "linear": worst <= DOUBLING, "peak_bytes_per_frame": per_frame, "input_bytes_per_frame": held,
        "summary": (
            f"{name} {GROWING[name](lengths[-1]).shape}: at most {three(worst)} times the time for twice the frames "
            f"({DOUBLING} allowed); memory beyond the inputs: {said}, the inputs themselves {bytes_text(held)} a frame"
        ),
    }  # fmt: skip


@torch.no_grad()
def stream_growth(name: str, model: Layer, ages: Sequence[int], rounds: int = 300, block: int = 8192) -> dict[str, Any]:
    """The step of one frame at each age of one stream, which long steps of `block` frames bring there."""
    model.eval()
    state, at, states = model.init_state(1), 0, {}
    for age in ages:
        while at < age:
            size = min(block, age - at)
            state, at = model.step(example(model, 1, size), state)[1], at + size
        states[age] = state  # a value: later steps leave it as it is
    frame = example(model)
    times = interleaved({str(age): _step(model, frame, held) for age, held in states.items()}, rounds)
    points = [
        {"frames": age, **times[str(age)].as_dict(), "state_bytes": trees.nbytes(held)} for age, held in states.items()
    ]
    ratio, sizes = times[str(ages[-1])].median / times[str(ages[0])].median, {p["state_bytes"] for p in points}
    held = f"{bytes_text(max(sizes))} throughout" if len(sizes) == 1 else "grows"
    return {
        "name": name, "points": points, "step_ratio": ratio, "state_constant": len(sizes) == 1,
        "summary": (
            f"{name}: a step after {ages[-1]:,} frames takes {three(ratio)} times that after {ages[0]:,}; state {held}"
        ),
    }  # fmt: skip


def _repeated(call: Callable[[], Any], times: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(times):
            call()

    return run


def _step(model: Layer, frame: Seq, state: State) -> Callable[[], Any]:
    return lambda: model.step(frame, state)
