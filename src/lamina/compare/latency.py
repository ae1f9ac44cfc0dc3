"""Step latency: batch 1, one thread pinned to one processor, with nothing else of ours running."""

from __future__ import annotations

import gc
import os
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter_ns
from typing import Any

import torch

from lamina.core import Layer, NotStreamable
from lamina.core.cost import cost, count_flops, example, state_bytes
from lamina.data import DataSet
from lamina.tasks import Task

__all__ = ["ROUNDS", "measure", "percentiles", "pinned"]

ROUNDS, STEPS, WARM_UP, SECONDS = 3, 200, 30, 0.4
LENGTHS = tuple(4**n for n in range(8))  # of the stream, 1 .. 16384 frames


def measure(task: Task, dataset: DataSet) -> dict[str, Any]:
    """What a structure costs at run time; keys as in a row of results.json.

    A step is one block of frames through stem and backbone where the structure streams, else the forward pass of one
    whole example (`step_of` says which).
    """
    task.eval()
    batch = dataset.dev.rows(slice(0, 1))
    with torch.no_grad():
        per_example = count_flops(lambda: task(batch))
    facts: dict[str, Any] = {"flops_per_example": per_example, "streams": False, "reason": None, "state_curve": None}
    layer = None if task.stem is None else task.encoder()
    try:
        if layer is None:
            raise NotStreamable("it sees a whole image at once")
        spec = layer.stream_spec()
    except NotStreamable as reason:
        facts |= {"flops_per_frame": per_example / task.view.frames, "state_bytes": None, "latency_frames": None}
        facts |= {"reason": str(reason), "step_of": "the whole example"}
        return facts | percentiles(lambda: task(batch))
    found = cost(layer)
    facts |= {"streams": True, "flops_per_frame": found.flops_per_frame, "state_bytes": found.state_bytes}
    facts |= {"latency_frames": found.latency_frames, "state_curve": [[n, state_bytes(layer, n)] for n in LENGTHS]}
    facts["step_of"] = "one frame" if spec.block == 1 else f"one block of {spec.block} frames"
    return facts | percentiles(_stepper(layer, spec.block))


def _stepper(layer: Layer, block: int) -> Callable[[], None]:
    """A stream that takes its next block at each call."""
    block_of_frames, state = example(layer, 1, block), layer.init_state(1)

    def step() -> None:
        nonlocal state
        _, state = layer.step(block_of_frames, state)

    return step


def percentiles(run: Callable[[], object]) -> dict[str, float]:
    """step_ms_p50, _p95 and _p99 of a call: the median over three rounds, so that one disturbance does not count.

    A round is 200 calls or more, after 30 that are not counted.
    """
    rounds = []
    with pinned(), torch.inference_mode():
        for _ in range(WARM_UP):
            run()
        for _ in range(ROUNDS):
            took: list[int] = []
            began = perf_counter_ns()
            while len(took) < STEPS or perf_counter_ns() - began < SECONDS * 1e9:
                start = perf_counter_ns()
                run()
                took.append(perf_counter_ns() - start)
            rounds.append(statistics.quantiles(took, n=100, method="inclusive"))
    return {f"step_ms_p{p}": round(statistics.median(r[p - 1] for r in rounds) / 1e6, 5) for p in (50, 95, 99)}


@contextmanager
def pinned() -> Iterator[None]:
    """This thread alone on one processor, torch with one thread, no garbage collection; all restored behind it."""
    threads, collecting = torch.get_num_threads(), gc.isenabled()
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    torch.set_num_threads(1)
    try:
        if allowed:
            os.sched_setaffinity(0, {max(allowed)})
        gc.collect()
        gc.disable()
        yield
    finally:
        if allowed:
            os.sched_setaffinity(0, allowed)
        if collecting:
            gc.enable()
        torch.set_num_threads(threads)
