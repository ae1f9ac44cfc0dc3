"""YOCO: one cache instead of one a layer, and prompts that leave half-way up (Sun et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from lamina import data, models
from lamina.bench.timing import interleaved
from lamina.core import Layer, Seq
from lamina.core import state as trees
from lamina.models.yoco import Yoco
from lamina.reproduce.claim import Claim, Figure, Plan, Tell, Tier, digits3
from lamina.reproduce.learn import learn
from lamina.reproduce.picture import Axis, Chart, Line, draw, ink
from lamina.train import Order

__all__ = ["CLAIM", "formula"]

SELF_DECODERS = {"gated": "gated_retention", "window": "window_attention"}
ATTENTION = {"mixer": "causal_attention"}  # RetNet's blocks with attention in retention's place: a Transformer's


def plan(tier: Tier) -> Plan:
    full = tier == "full"
    frames, width = (256, 128) if full else (128, 64)
    settings: dict[str, Any] = {
        "cache": {
            "keys": {"d_model": 256, "n_layers": 8, "n_heads": 4},
            "left": 128,
            "lengths": [2**n for n in range(8, 15)],
        },
        "prefill": {
            "keys": {"d_model": 256, "n_layers": 4, "n_heads": 4},
            "left": 128,
            "frames": 2048,
            "rounds": 20 if full else 6,
        },
        "text": {
            "data": f"text:length={frames}",
            "keys": {"d_model": width, "n_layers": 4, "n_heads": 4},
            "left": frames // 4,
            # equal weights: a self-decoder of windows makes no keys and values twice, so its feed-forward is wider
            "d_ff": {"transformer": 344, "gated": 344, "window": 366}
            if full
            else {"transformer": 176, "gated": 176, "window": 187},
            "steps": 900 if full else 300,
            "batch_size": 16,
            "rates": [1e-3, 3e-3] if full else [3e-3],
        },
    }
    longest = settings["cache"]["lengths"][-1]
    loss = "bits per byte / the Transformer's"
    figures = (
        Figure("formula", "state of all sizes, largest difference from the formula", "bytes", most=0.0),
        Figure("smaller", f"the Transformer's state / ours, 8 layers, {longest:,} frames", "x", "8 x, one a layer (p)"),
        Figure("prefill_gated", "prefill at 2,048 frames / the Transformer's", "", "30 x faster at 512k (p)", most=0.6),
        Figure("prefill_window", "prefill, window self-decoder / the Transformer's", most=0.6),
        Figure("leaving", "prefill that leaves early / the whole network's"),
        Figure("loss_gated", f"text, {loss}", "", "no higher than the Transformer's (p)", most=1.02),
        Figure("loss_window", f"text, window self-decoder, {loss}", most=1.02),
    )
    note = (
        "State bytes: those of the real state behind real steps, with a cache of 256 to "
        f"{longest:,} frames; the Transformer has the same blocks with causal attention, and a cache a layer. "
        "Prefill: one stream, one thread, 4 layers of width 256, medians of calls in turn; the Transformer's is the "
        "faster of its step, which fills its caches, and its forward, which does not. Text: the sources of Python's "
        f"library, windows of {frames} bytes, whole files held out, 4 layers of width {width}, equal weights within "
        f"0.3 %, {settings['text']['steps']:,} steps. Windows look {frames // 4} bytes back."
    )
    if not full:
        note += " One seed, a minute of training; the full tier trains a wider network for longer, three seeds."
    return Plan((0, 1, 2) if full else (0,), settings, figures, note)


def trial(settings: dict[str, Any], seed: int, folder: Path, tell: Tell) -> dict[str, Any]:
    """One seed: bytes, prefill times, then a language model of each kind."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        tell("state bytes", 0, 1)
        found = sizes(**settings["cache"])
        tell("prefill times", 0, 1)
        ms = prefills(**settings["prefill"])
    bits, learned, described = _text(settings["text"], seed, folder, tell)
    theirs, transformer = min(ms["transformer_step"], ms["transformer_forward"]), bits["transformer"]

    def loss(name: str) -> float | None:
        ours = bits[name]
        return None if ours is None or transformer is None else ours / transformer

    return {
        "figures": {
            "formula": max(abs(n - m) for name in found for n, m in zip(*found[name].values(), strict=True)),
            "smaller": found["transformer"]["bytes"][-1] / found["gated"]["bytes"][-1],
            "prefill_gated": ms["gated"] / theirs,
            "prefill_window": ms["window"] / theirs,
            "leaving": ms["gated"] / ms["gated_whole"],
            "loss_gated": loss("gated"),
            "loss_window": loss("window"),
        },
        "state": found,
        "ms": ms,
        "bits": bits,
        "learned": learned,
        "data": described,
    }


def network(name: str, keys: dict[str, Any], left: int, capacity: int, **more: Any) -> Layer:
    """A Transformer, or YOCO with one of its self-decoders, whose cache holds `capacity` frames."""
    model, own = _keys(name, left)
    return cast(Layer, models.create(model, **keys, **own, capacity=capacity, **more)).eval()


def _keys(name: str, left: int) -> tuple[str, dict[str, Any]]:
    if name == "transformer":
        return "retnet", ATTENTION
    return "yoco", {"self_decoder": SELF_DECODERS[name]} | ({"left": left} if name == "window" else {})


def formula(name: str, capacity: int, left: int, *, d_model: int, n_layers: int, n_heads: int) -> int:
    """Bytes of one stream's state, float32: a frame's key and value take 8 D bytes, that it is there takes 1.

    Transformer  L caches of N frames and a count of 8 bytes each
    YOCO         one cache, a count for it and for each of the L/2 cross layers; below them L/2 times
                 gated: H matrices of (D/H)^2 numbers and a count;  window: a cache of W frames and a count
    """
    frame, half = 8 * d_model + 1, n_layers // 2
    if name == "transformer":
        return n_layers * (capacity * frame + 8)
    below = 4 * d_model**2 // n_heads + 8 if name == "gated" else left * frame + 8
    return capacity * frame + 8 * (1 + n_layers - half) + half * below


def sizes(keys: dict[str, Any], left: int, lengths: list[int]) -> dict[str, dict[str, list[int]]]:
    """Bytes of the real state behind two steps, beside the formula's, for caches of these lengths."""
    frames = Seq.of(torch.randn(1, 3, keys["d_model"]))
    found = {}
    for name in ("transformer", *SELF_DECODERS):
        measured = []
        for capacity in lengths:
            layer = network(name, keys, left, capacity)
            state = layer.init_state(1)
            for _ in range(2):
                _, state = layer.step(frames, state)
            measured.append(trees.nbytes(state))
        found[name] = {"bytes": measured, "formula": [formula(name, n, left, **keys) for n in lengths]}
    return found


def prefills(keys: dict[str, Any], left: int, frames: int, rounds: int) -> dict[str, float]:
    """Milliseconds to take a prompt in, from an empty state with room for it to the vector of the last frame."""
    x = Seq.of(torch.randn(1, frames, keys["d_model"]))
    transformer = network("transformer", keys, left, frames)
    empty = transformer.init_state(1)
    calls: dict[str, Callable[[], object]] = {
        "transformer_step": partial(transformer.step, x, empty),
        "transformer_forward": partial(transformer, x),
    }
    for name in SELF_DECODERS:
        yoco = cast(Yoco, network(name, keys, left, frames))
        new = yoco.init_state(1)
        calls[name] = partial(yoco.prefill, x, new)
        calls[f"{name}_whole"] = partial(yoco.step, x, new)
    times = interleaved(calls, rounds, warmup=2)
    return {name: time.median / 1000 for name, time in times.items()}


def _text(
    what: dict[str, Any], seed: int, folder: Path, tell: Tell
) -> tuple[dict[str, float | None], dict[str, Any], dict[str, Any]]:
    """Bits per byte of each network on the held-out files, looked at once."""
    dataset = data.load(what["data"])
    bits, learned = {}, {}
    for name in ("transformer", *SELF_DECODERS):
        model, own = _keys(name, what["left"])
        order = Order(
            model,
            {**what["keys"], **own, "d_ff": what["d_ff"][name]},
            what["data"],
            steps=what["steps"],
            seed=seed,
            batch_size=what["batch_size"],
        )
        found = learn(order, what["rates"], dataset, folder / name, tell)
        bits[name], learned[name] = found.score(dataset.test), found.facts()
    return bits, learned, dataset.describe()


def picture(record: dict[str, Any], trials: list[dict[str, Any]]) -> str:
    found = {f["key"]: f for f in record["figures"]}
    lengths, layers = record["settings"]["cache"]["lengths"], record["settings"]["cache"]["keys"]["n_layers"]
    smaller, early = digits3(found["smaller"]["ours"]), found["prefill_gated"]["ours"]
    loss = found["loss_gated"]["ours"]
    told = "unknown"
    if loss is not None:
        told = f"{100 * abs(loss - 1):.2g} % {'lower' if loss < 1 else 'higher'}"
    answer = (
        f"With {layers} layers YOCO's state is {smaller} times smaller than a Transformer's; its prompts take "
        f"{digits3(100 * early, '%')} of the time; its loss is {told}"
    )
    lines = []
    looks = (
        ("transformer", "attention", "Transformer", False),
        ("gated", "hybrid", "YOCO", False),
        ("window", "hybrid", "YOCO, window", True),
    )
    for name, family, label, dash in looks:
        ys = [n / 1e6 for n in trials[0]["state"][name]["bytes"]]
        lines.append(Line(lengths, ys, ink(family), label, dash=dash, marks=not dash))
    memory = Chart(
        lines,
        Axis("frames in the cache (log)", log=True, ticks=tuple(lengths[::2])),
        Axis("state of one stream, MB (log)", log=True),
        height=230,
    )
    curves = []
    for name, family, label, dash in looks:
        for i, t in enumerate(trials):
            course = t["learned"][name]["curve"]
            curves.append(
                Line([x for x, _ in course], [y for _, y in course], ink(family), "" if i else label, dash=dash)
            )
    losses = Chart(curves, Axis("training steps"), Axis("text: bits per byte on the dev part"), height=230)
    bits = {name: [t["bits"][name] for t in trials] for name in ("transformer", *SELF_DECODERS)}
    means = {name: None if None in row else sum(row) / len(row) for name, row in bits.items()}
    note = (
        f"{'One seed' if len(trials) == 1 else f'{len(trials)} seeds'}. Bits per byte on the held-out files: "
        f"Transformer {digits3(means['transformer'])}, YOCO with gated retention {digits3(means['gated'])}, with "
        f"windows {digits3(means['window'])}, at equal weights. Prefill of "
        f"{record['settings']['prefill']['frames']:,} frames; with windows it takes "
        f"{digits3(100 * found['prefill_window']['ours'], '%')} of the Transformer's time."
    )
    return draw(answer, note, [memory, losses])


CLAIM = Claim(
    name="yoco",
    structure="yoco",
    source="Sun et al. 2024, arXiv:2405.05254",
    says="One cache of keys and values serves all upper layers, so memory falls L-fold and prompts leave early.",
    paper="a cache about L times smaller; 512k frames prefilled in under 6 s instead of 180 s; needle found at 1M (p)",
    plan=plan,
    trial=trial,
    picture=picture,
)
