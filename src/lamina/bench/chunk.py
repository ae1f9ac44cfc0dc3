"""40 ms of a stream through four structures at equal weights, captured and not, beside torchaudio's Emformer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

import torch
from torch import Tensor

from lamina.bench.peers import emformer as peer
from lamina.bench.timing import interleaved
from lamina.core import Captured, Layer, Seq, State, Streamer, run_steps
from lamina.core.config import UserError
from lamina.core.cost import example, params
from lamina.models import create
from lamina.train.machine import environment

__all__ = ["BOUND", "MUST", "PEER", "SIZES", "bench_chunk", "chunk_lines"]

CHUNK = 40  # ms of sound
FRAMES = (4, 1)  # that a chunk comes as: of 10 ms, as an Emformer's segment; of 40 ms, stacked
MUST = 3.0  # times faster than the Emformer
BURST = 10  # steps a turn, the first of which is not counted
BOUND = 1e-4  # of the largest value, between step and forward
AGE = 80  # frames that a stream has heard before it is timed: its caches are full
LEFT = 64  # frames that attention sees before its own, ours and the peer's
PEER = {"width": 256, "d_ff": 1024, "n_layers": 4}
# the model and its keys; all have the weights of that Emformer within 0.5 %
SIZES: dict[str, tuple[str, dict[str, Any]]] = {
    "attention_lstm": (
        "attention_lstm",
        {"mixers": "attention,attention,attention,lstm", "d_model": 256, "d_ff": 896, "left": LEFT},
    ),
    "conformer": ("conformer", {"d_model": 256, "n_layers": 4, "d_ff": 310, "left": LEFT}),
    "lstm": ("lstm", {"d_model": 256, "n_layers": 6}),
    "mamba": ("mamba", {"d_model": 260, "n_layers": 7}),
}

Step = Callable[[], object]
CAPTURED = ", captured"  # behind the name of a structure whose steps are replayed (`lamina.Captured`)


@torch.no_grad()
def bench_chunk(
    steps: int = 2000,
    *,
    sizes: Mapping[str, tuple[str, dict[str, Any]]] = SIZES,
    theirs: Mapping[str, int] = PEER,
    frames: tuple[int, ...] = FRAMES,
) -> dict[str, Any]:
    """Microseconds of a step on a chunk at batch 1, in float32, of at least so many steps each, taken in turns.

    The same chunk for all: so many frames, of each structure's own width, in which it goes on with an old stream.
    Before any time is taken step must give what forward gives, captured too, and the Emformer, which has no such form
    of the same outputs, twice the same finite ones. ratio: the Emformer's median over ours; real_time: over 40 ms.
    """
    torch.manual_seed(0)
    models = {name: create(model, **keys).eval() for name, (model, keys) in sizes.items()}
    for name, model in models.items():
        _agrees(name, model, frames)
    without = peer.missing()
    result: dict[str, Any] = {
        "what": f"{CHUNK} ms at batch 1, float32, {LEFT} frames of context", "must": MUST,
        "weights": {name: params(model) for name, model in models.items()}, "chunks": [],
        "peer": {"name": "Emformer", "version": None if without else peer.version(), "reason": without},
        "env": environment(),
    }  # fmt: skip
    for n in frames:
        calls = {name: _stream(model, n, model.step) for name, model in models.items()}
        calls |= {name + CAPTURED: _stream(model, n, Captured(model.step)) for name, model in models.items()}
        ours = list(calls)
        if not without:
            made = peer.emformer(**theirs, segment=n, left=LEFT)
            result["weights"]["Emformer"] = params(made)
            calls["Emformer"] = _their_stream(made, n, theirs["width"])
        times = interleaved(calls, ceil(steps / (BURST - 1)), warmup=2, burst=BURST)
        best = times.get("Emformer")
        result["chunks"].append(
            {
                "frames": n,
                "times": {name: t.as_dict() for name, t in times.items()},
                "ratio": {name: best.median / times[name].median if best else None for name in ours},
                "real_time": {name: t.median / (1000 * CHUNK) for name, t in times.items()},
            }
        )
    return result


def _agrees(name: str, model: Layer, frames: tuple[int, ...]) -> None:
    """UserError where step differs from forward on some chunks of these sizes."""
    x = example(model, 1, 24)
    want = model(x).values
    for n in frames:
        streamer = Streamer(model, captured=True)
        captured = torch.cat([streamer.push(part).values for part in x.values.split(n, 1)], 1)
        for got in (run_steps(model, x, [n]).values, captured):
            apart = float((got - want).abs().max() / want.abs().max())
            if not apart <= BOUND:
                raise UserError(
                    f"bench step: {name}: step and forward differ by {apart:.1e} of the largest value on chunks of {n} "
                    f"frames, {BOUND:g} allowed; no time is given on red"
                )


def _stream(model: Layer, frames: int, call: Callable[[Seq, State], tuple[Seq, State]]) -> Step:
    """A stream of ours that is AGE frames old and goes on at every call."""
    _, state = model.step(example(model, 1, AGE), model.init_state(1))
    x = example(model, 1, frames)

    def step() -> Seq:
        nonlocal state
        y, state = call(x, state)
        return y

    return step


def _their_stream(model: Any, frames: int, width: int) -> Step:
    """The same of the Emformer; UserError where two streams on the same frames differ or are not finite."""
    first, again, x = peer.stream(model), peer.stream(model), torch.randn(1, AGE, width)
    for chunk in x.split(frames, 1):
        a, b = first(chunk), again(chunk)
        if not (torch.equal(a, b) and bool(a.isfinite().all())):
            raise UserError("bench step: the Emformer gives other outputs for the same frames; no time is given on red")

    def step() -> Tensor:
        return first(chunk)

    return step


def chunk_lines(found: dict[str, Any]) -> list[str]:
    """What a terminal shows."""
    env, about = found["env"], found["peer"]
    lines = [f"{found['what']} ({env['threads']} thread{'s' * (env['threads'] > 1)}, torch {env['torch']})"]
    for chunk in found["chunks"]:
        n = chunk["frames"]
        head = f"as {n} frame{'s' * (n > 1)} of {CHUNK // n} ms:"
        lines.append(f"{head:<26}      p50      p95      p99 us  of real time   ratio")
        for name, t in chunk["times"].items():
            ratio = chunk["ratio"].get(name)
            lines.append(
                f"  {name:<24} {t['us_p50']:>8.0f} {t['us_p95']:>8.0f} {t['us_p99']:>8.0f} "
                f"{100 * chunk['real_time'][name]:>11.2f} % " + (f"{ratio:>7.2f}" if ratio else "").rstrip()
            )
    weights = ", ".join(f"{name} {n:,}" for name, n in found["weights"].items())
    lines.append(f"weights: {weights}")
    lines.append(about["reason"] or f"ratio: {about['version']}'s {about['name']} over ours, {found['must']:g} asked")
    return lines
