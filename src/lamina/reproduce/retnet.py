"""RetNet: one retention in three forms, and a step that costs the same at every age (Sun et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina import models, ops
from lamina.bench.timing import interleaved
from lamina.core import Layer, Seq, State, run_steps
from lamina.core import state as trees
from lamina.core.cost import params
from lamina.layers import Retention
from lamina.reproduce.claim import Claim, Figure, Plan, Tell, Tier, digits3
from lamina.reproduce.picture import Axis, Chart, Line, draw, ink

__all__ = ["CLAIM", "parallel"]

AT_ONCE = 1024  # frames of a step while a stream is aged


def plan(tier: Tier) -> Plan:
    full = tier == "full"
    longest = 2**14 if full else 2**12
    settings: dict[str, Any] = {
        "forms": {"d_model": 64, "n_heads": 4, "frames": 1000 if full else 300},
        "step": {
            "keys": {"d_model": 256, "n_heads": 4, "n_layers": 4 if full else 2},
            "lengths": [2**n for n in range(8, longest.bit_length())],
            "rounds": 100 if full else 40,
        },
    }
    figures = (
        Figure("forms", "parallel, chunkwise, recurrent: largest difference / largest value, float64", most=1e-10),
        Figure("flat", f"a step's time at {longest:,} frames / at 256", most=1.25),
        Figure("faster", f"attention's step / ours, behind {longest:,} frames", "x", "8.4 x at 8k frames (p)"),
        Figure("smaller", f"attention's state / ours, behind {longest:,} frames", "x"),
        Figure("saved", "memory saved, weights counted", "%", "70 % at 8k frames (p)"),
    )
    note = (
        f"One layer of width 64 in its forms over {settings['forms']['frames']} frames; the parallel one is written "
        "from the paper's formula with the whole matrix of decays. Step times: one stream, one thread, "
        f"{settings['step']['keys']['n_layers']} blocks of width 256, medians of calls in turn, beside the same "
        "network with causal attention in retention's place and a cache exactly as long as the past."
    )
    if not full:
        note += f" The full tier has 4 blocks, and goes to 16,384 frames where this one ends at {longest:,}."
    return Plan((0, 1, 2) if full else (0,), settings, figures, note)


def trial(settings: dict[str, Any], seed: int, folder: Path, tell: Tell) -> dict[str, Any]:
    """One seed: the three forms, then time and bytes of a step at each age."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        tell("three forms", 0, 2)
        differences = forms(**settings["forms"])
        tell("step times", 1, 2)
        steps = ages(**settings["step"])
    retnet, attention, weights = steps["retnet"], steps["attention"], steps["weights"]
    ours, theirs = (4 * weights[name] + steps[name]["bytes"][-1] for name in ("retnet", "attention"))
    return {
        "figures": {
            "forms": max(differences.values()),
            "flat": retnet["ms"][-1] / retnet["ms"][0],
            "faster": attention["ms"][-1] / steps["beside"],
            "smaller": attention["bytes"][-1] / retnet["bytes"][-1],
            "saved": 100 * (1 - ours / theirs),
        },
        "forms": differences,
        **steps,
    }


def forms(d_model: int, n_heads: int, frames: int) -> dict[str, float]:
    """Every other form of a retention layer against the parallel one: largest difference / largest value."""
    layer = Retention(d_model, n_heads).double()
    x = Seq.of(torch.randn(2, frames, d_model, dtype=torch.float64))
    with ops.use("chunk"):
        chunkwise = layer(x).values
    found = {"chunkwise": chunkwise, "compiled": layer(x).values, "recurrent": run_steps(layer, x).values}
    whole = parallel(layer, x.values)
    return {name: float((y - whole).abs().max() / whole.abs().max()) for name, y in found.items()}


def parallel(layer: Retention, x: Tensor) -> Tensor:
    """The paper's parallel form with a layer's weights, [B,T,D] -> [B,T,D]; the matrix of decays is [H,T,T].

    O = (Q K^T * decays) V,    decays_nm = a^(n-m) for m <= n, 0 above;    y = W_o (silu(W_g x) * norm(O))
    """
    n, half = torch.arange(x.shape[1], dtype=x.dtype), layer.d_head // 2
    q, k, v, gate = (p.unflatten(-1, (layer.n_heads, -1)) for p in layer.project(x).chunk(4, -1))
    angles = n[:, None] * 10000 ** (-torch.arange(half, dtype=x.dtype) / (half - 1))
    turn = torch.polar(torch.ones_like(angles), angles)[:, None]
    q, k = (torch.view_as_complex(p.unflatten(-1, (half, 2))) * turn for p in (q, k))
    decay = 1 - 2.0 ** (-5 - torch.arange(layer.n_heads, dtype=x.dtype))
    apart = n[:, None] - n
    decays = torch.where(apart >= 0, decay[:, None, None] ** apart.clamp(min=0), 0)
    scores = torch.einsum("bnhk,bmhk->bhnm", q, k.conj()).real * decays
    o = torch.einsum("bhnm,bmhv->bnhv", scores, v)
    o = o / (o.square().mean(-1, keepdim=True) + layer.eps * layer.d_head).sqrt()
    return layer.out((o * F.silu(gate)).flatten(2))


def ages(keys: dict[str, Any], lengths: list[int], rounds: int) -> dict[str, Any]:
    """Milliseconds and state bytes of one step behind so many frames, of RetNet and of attention with a cache of them.

    First RetNet's ages in turn, ten times as often, short as they are; then attention's in turn with RetNet's last
    ("beside"), which ratios are taken of.
    """
    retnet = cast(Layer, models.create("retnet", **keys)).eval()
    frame = Seq.of(torch.randn(1, 1, keys["d_model"]))
    old = {n: _aged(retnet, n, keys["d_model"]) for n in lengths}
    ours = interleaved({str(n): _step(retnet, frame, old[n]) for n in lengths}, 10 * rounds, warmup=5)
    calls, theirs = {"beside": _step(retnet, frame, old[lengths[-1]])}, {}
    for n in lengths:
        attention = cast(Layer, models.create("retnet", mixer="causal_attention", capacity=n, **keys)).eval()
        theirs[n] = trees.map_tensors(partial(_filled, frames=n), attention.init_state(1))
        calls[str(n)] = _step(attention, frame, theirs[n])
    times = interleaved(calls, rounds, warmup=5)
    return {
        "lengths": lengths,
        "retnet": {
            "ms": [ours[str(n)].median / 1000 for n in lengths],
            "bytes": [trees.nbytes(retnet.step(frame, old[n])[1]) for n in lengths],
        },
        "attention": {
            "ms": [times[str(n)].median / 1000 for n in lengths],
            "bytes": [trees.nbytes(theirs[n]) for n in lengths],
        },
        "beside": times["beside"].median / 1000,
        "weights": {"retnet": params(retnet), "attention": params(attention)},
    }


def _step(layer: Layer, frame: Seq, state: State) -> Callable[[], object]:
    return lambda: layer.step(frame, state)


def _aged(layer: Layer, frames: int, width: int) -> State:
    """The state of a stream behind so many random frames."""
    state = layer.init_state(1)
    for at in range(0, frames, AT_ONCE):
        _, state = layer.step(Seq.of(torch.randn(1, min(AT_ONCE, frames - at), width)), state)
    return state


def _filled(empty: Tensor, frames: int) -> Tensor:
    """A cache as if it had seen so many frames: a step takes as long, and filling it takes none."""
    if empty.is_floating_point():
        return torch.randn_like(empty)
    return torch.ones_like(empty) if empty.dtype == torch.bool else torch.full_like(empty, frames)


def picture(record: dict[str, Any], trials: list[dict[str, Any]]) -> str:
    found, lengths = {f["key"]: f for f in record["figures"]}, trials[0]["lengths"]
    faster, smaller = digits3(found["faster"]["ours"]), digits3(found["smaller"]["ours"])
    kept = "stays flat" if found["flat"]["met"] else "does not stay flat"
    answer = (
        f"Behind {lengths[-1]:,} frames attention's step takes {faster} times RetNet's, which {kept}, and its state "
        f"{smaller} times the bytes"
    )
    charts = []
    for key, words, scale in (("ms", "milliseconds a step (log)", 1), ("bytes", "state, KB (log)", 1000)):
        lines = []
        for name, family, label in (
            ("attention", "attention", "causal attention"),
            ("retnet", "retention and delta", "RetNet"),
        ):
            for i, t in enumerate(trials):
                ys = [y / scale for y in t[name][key]]
                lines.append(Line(lengths, ys, ink(family), "" if i else label, marks=True))
        ticks = tuple(lengths[::2])
        charts.append(Chart(lines, Axis("frames behind (log)", log=True, ticks=ticks), Axis(words, log=True)))
    note = (
        f"One stream, one thread, {record['settings']['step']['keys']['n_layers']} blocks of width "
        f"{record['settings']['step']['keys']['d_model']}. Parallel, chunkwise and recurrent form differ by "
        f"{digits3(found['forms']['ours'])} of the largest value in float64. With the weights, RetNet takes "
        f"{digits3(found['saved']['ours'], '%')} less memory."
    )
    return draw(answer, note, charts)


CLAIM = Claim(
    name="retnet",
    structure="retnet",
    source="Sun et al. 2023, arXiv:2307.08621",
    says="Retention is one function in a parallel, a chunkwise and a recurrent form; a step costs the same at any age.",
    paper="at 8k frames decoding is 8.4 times faster and takes 70 % less memory than a Transformer with a cache (p)",
    plan=plan,
    trial=trial,
    picture=picture,
)
