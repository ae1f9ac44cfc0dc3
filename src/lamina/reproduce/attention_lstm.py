"""LSTM after self-attention: streaming, positions and smoothing, each with a verdict of its own (Chen et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from lamina import data
from lamina.core import Seq, run_steps
from lamina.data import Split
from lamina.data.batch import in_order
from lamina.layers import WindowAttention
from lamina.reproduce.claim import Claim, Figure, Part, Plan, Tell, Tier, digits3
from lamina.reproduce.learn import Learned, learn
from lamina.reproduce.picture import Axis, Chart, Dots, Line, draw, ink
from lamina.tasks import Batch, Ctc, Task
from lamina.tasks.ctc import best_path
from lamina.train import Order, evaluate

__all__ = ["CLAIM", "NETS", "order"]

SECONDS = 0.04  # of sound a frame stands for
CONTEXTS = (1, 2, 4, 8, 16, 32)  # frames before its own that attention is left when it is asked, of 16 in training
WORSE = 1.15  # times the errors: up to here nothing was lost
STREAM = {"n_heads": 4, "left": 16}
WHOLE = {"n_heads": 4, "left": None, "right": None}  # attention over the whole utterance
ALONE, BOTH = "attention,attention,attention", "attention,attention,lstm"
# mixers, keys: the same three blocks with other mixers, and what is varied
NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "attention_lstm": (BOTH, STREAM),
    "attention": (ALONE, STREAM),
    "lstm": ("lstm,lstm,lstm", {}),
    "attention_lstm_whole": (BOTH, WHOLE),
    "attention_whole": (ALONE, WHOLE),
    "attention_lstm_unplaced": (BOTH, {**STREAM, "rotary": False}),
    "attention_unplaced": (ALONE, {**STREAM, "rotary": False}),
}
# the feed-forwards' width makes up for an LSTM's two more matrices: equal weights within 0.5 %
D_FF = {
    32: {ALONE: 149, BOTH: 128, "lstm,lstm,lstm": 85},
    64: {ALONE: 299, BOTH: 256, "lstm,lstm,lstm": 171},
}
WORDS = {
    "attention_lstm": "attention, LSTM",
    "attention": "attention alone",
    "lstm": "LSTM alone",
    "attention_lstm_whole": "both, whole string",
    "attention_whole": "attention, whole",
    "attention_lstm_unplaced": "both, no positions",
    "attention_unplaced": "attention, no pos.",
}
INKS = {name: "hybrid" if "lstm" in name else "attention" for name in NETS} | {"lstm": "recurrence"}


def plan(tier: Tier) -> Plan:
    settings: dict[str, Any] = {"contexts": list(CONTEXTS), "batch_size": 16}
    if tier == "full":
        settings |= {"data": "digit_strings:snr=5", "width": 64, "nets": list(NETS), "steps": 1000}
        settings["rates"] = [2e-3, 5e-3]
    else:
        nets = [name for name in NETS if name != "attention_whole"]
        settings |= {"data": "espeak_strings:snr=0", "width": 32, "nets": nets, "steps": 300, "rates": [5e-3]}
    figures = [
        Figure("stream_cost", "attention, LSTM: errors streamed / with the whole string", most=WORSE),
        Figure("steps_differ", "strings that true steps read otherwise than forward", most=0),
        Figure("unplaced_attention", "attention alone: errors without positions / with", least=WORSE),
        Figure("unplaced_attention_lstm", "attention, LSTM: errors without positions / with", most=WORSE),
        Figure("flicker", "label changes a second, attention, LSTM / attention alone", below=1.0),
        *(Figure(f"errors_{name}", f"label errors, {WORDS[name]}", "%") for name in settings["nets"]),
        *(Figure(f"changes_{name}", f"label changes, {WORDS[name]}", "a second") for name in settings["nets"]),
    ]
    parts = (
        Part("streaming", ("stream_cost", "steps_differ")),
        Part("position", ("unplaced_attention_lstm", "unplaced_attention")),
        Part("smoothing", ("flicker",)),
        Part("quantization"),
        Part("distillation"),
    )
    return Plan((0, 1, 2) if tier == "full" else (0,), settings, tuple(figures), _note(tier, settings), parts)


def _note(tier: Tier, settings: dict[str, Any]) -> str:
    width, steps, rates = settings["width"], settings["steps"], len(settings["rates"])
    heard = (
        "3 to 7 recordings of the Free Spoken Digit Dataset joined, white noise 5 dB below; the recordings judged are "
        f"in no other part. The better of {rates} rates by the dev part. "
        if tier == "full"
        else "One seed: 3 to 7 digits said by eSpeak NG in noise as loud as they are; the voices judged are in no "
        "other part. The full tier has recorded digits and three seeds. "
    )
    return (
        f"{heard}Three residual blocks of width {width} with equal weights, {steps:,} steps of "
        "CTC. Streamed: attention sees 16 frames of 40 ms before its own and none behind it. Whole string: another "
        "network, trained and asked with attention over the past and the future; its LSTM goes forwards. Streaming is "
        f"true if that costs at most {WORSE} times the errors and true steps read every string as forward does; "
        "position if attention alone loses more than that without its rotary positions and with an LSTM behind it does "
        "not; smoothing if the likeliest label of the frames, blank included, changes less often. Ratios are of the "
        "errors of all seeds. Quantization and distillation are not yet measured."
    )


def order(name: str, settings: dict[str, Any], seed: int) -> Order:
    """The order of a network of NETS."""
    mixers, keys = NETS[name]
    width = settings["width"]
    keys = {**keys, "mixers": mixers, "d_model": width, "d_ff": D_FF[width][mixers]}
    steps, batch_size = settings["steps"], settings["batch_size"]
    return Order("hybrid", keys, settings["data"], steps=steps, seed=seed, batch_size=batch_size)


def trial(settings: dict[str, Any], seed: int, folder: Path, tell: Tell) -> dict[str, Any]:
    """One seed: every network, the test part looked at by the trained ones only."""
    dataset = data.load(settings["data"])
    figures: dict[str, float | None] = {}
    learned, contexts = {}, {}
    for name in settings["nets"]:
        found = learn(order(name, settings, seed), settings["rates"], dataset, folder / name, tell)
        figures[f"errors_{name}"] = found.score(dataset.test, 100)
        figures[f"changes_{name}"] = _changes(found, dataset.test)
        learned[name] = found.facts()
        if name in ("attention", "attention_lstm") and not found.history.diverged:
            contexts[name] = [[left, 100 * _within(found.task, left, dataset.test)] for left in settings["contexts"]]
        if name == "attention_lstm":
            figures["steps_differ"] = None if found.history.diverged else float(_differ(found.task, dataset.test))
    return {"figures": figures, "contexts": contexts, "learned": learned, "data": dataset.describe()}


def joint(trials: list[dict[str, Any]]) -> dict[str, float | None]:
    """The ratios, of all seeds' errors and changes together."""

    def ratio(of: str, to: str) -> float | None:
        above, below = ([t["figures"].get(key) for t in trials] for key in (of, to))
        if None in above or None in below or not sum(below):
            return None
        return float(sum(above) / sum(below))

    return {
        "stream_cost": ratio("errors_attention_lstm", "errors_attention_lstm_whole"),
        "unplaced_attention": ratio("errors_attention_unplaced", "errors_attention"),
        "unplaced_attention_lstm": ratio("errors_attention_lstm_unplaced", "errors_attention_lstm"),
        "flicker": ratio("changes_attention_lstm", "changes_attention"),
    }


@torch.no_grad()
def _changes(found: Learned, split: Split) -> float | None:
    """How often a second the likeliest class of the frames changes, over a whole part."""
    if found.history.diverged:
        return None
    changes = frames = 0
    for batch, lengths in _batches(found.task, split):
        for row, n in zip(found.task(batch).argmax(-1), lengths.tolist(), strict=True):
            changes += int((row[1:n] != row[: n - 1]).sum())
            frames += n
    return changes / (frames * SECONDS)


@torch.no_grad()
def _differ(task: Task, split: Split) -> int:
    """Strings that steps of one frame and forward read differently."""
    layer, differ = task.encoder(), 0
    for batch, lengths in _batches(task, split):
        seen = cast(Seq, task.view(batch["x"], batch["lengths"]))
        assert task.head is not None
        stepped = best_path(task.head(run_steps(layer, seen).zeroed()), lengths)
        differ += sum(a != b for a, b in zip(stepped, best_path(task(batch), lengths), strict=True))
    return differ


def _batches(task: Task, split: Split) -> Iterator[tuple[Batch, Tensor]]:
    """Batches with the frames of their rows."""
    for rows in in_order(split, 512):
        batch = split.rows(rows)
        yield batch, cast(Ctc, task).lengths(batch)


def _within(task: Task, left: int, split: Split) -> float:
    """The errors where attention is left so many frames of the past."""
    with _narrowed(task, left):
        return evaluate(task, split)


@contextmanager
def _narrowed(task: Task, left: int) -> Iterator[None]:
    layers = [m for m in task.modules() if isinstance(m, WindowAttention)]
    before = [layer.left for layer in layers]
    for layer in layers:
        layer.left = left
    try:
        yield
    finally:
        for layer, kept in zip(layers, before, strict=True):
            layer.left = kept


def picture(record: dict[str, Any], trials: list[dict[str, Any]]) -> str:
    found = {f["key"]: f for f in record["figures"]}
    rows = []
    for name in record["settings"]["nets"]:
        scores = [s for t in trials if (s := t["figures"][f"errors_{name}"]) is not None]
        rows.append((WORDS[name], scores, ink(INKS[name])))
    lines = []
    for name in ("attention_lstm", "attention"):
        curves = [t["contexts"][name] for t in trials if name in t["contexts"]]
        if len(curves) == len(trials):
            xs = [SECONDS * left for left, _ in curves[0]]
            ys = [sum(points) / len(curves) for points in zip(*([y for _, y in c] for c in curves), strict=True)]
            lines.append(Line(xs, ys, ink(INKS[name]), WORDS[name], marks=True))
    chart = Chart(
        lines,
        Axis("seconds of the past that attention sees, 0.64 in training", log=True),
        Axis("label errors, % (log)", log=True),
    )
    cost, alone, both, flicker = (
        digits3(found[key]["ours"])
        for key in ("stream_cost", "unplaced_attention", "unplaced_attention_lstm", "flicker")
    )
    answer = (
        f"With an LSTM behind attention, streaming costs {cost} times the errors; without positions it makes {both} "
        f"times as many, attention alone {alone} times; its labels change {flicker} times as often"
    )
    said = ", ".join(f"{part['name']} {part['verdict']}" for part in record["parts"])
    seeds = "One seed" if len(trials) == 1 else f"{len(trials)} seeds, a dot each"
    note = f"{seeds}, equal weights; label errors on the test part, less is better. The claim's parts: {said}."
    return draw(answer, note, [Dots(rows, Axis("label errors, %", low=0), cut=3), chart])


CLAIM = Claim(
    name="attention_lstm",
    structure="attention_lstm",
    source="a survey of deep structures; Chen et al. 2018, arXiv:1804.09849, has both in one network",
    says="Attention gathers the context; an LSTM behind it streams, knows the order and smooths.",
    paper="said without figures (p)",
    plan=plan,
    trial=trial,
    picture=picture,
    joint=joint,
)
