"""Gated retention: a decay that each frame chooses, against one that is fixed (Sun et al. 2024)."""

from __future__ import annotations

from math import hypot
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from lamina import data
from lamina.reproduce.claim import Claim, Figure, Plan, Tell, Tier, digits3
from lamina.reproduce.learn import learn
from lamina.reproduce.picture import Axis, Chart, Line, draw, ink
from lamina.train import Order

__all__ = ["CLAIM"]

TASKS = {"recall": 1, "text": -1}  # whether more is better
MODELS = {"gated": "gated_retention", "fixed": "retnet"}


def plan(tier: Tier) -> Plan:
    full = tier == "full"
    frames, pairs = (128, "4+8+16+32") if full else (64, "4+8+16")
    width, d_ff = (64, 176) if full else (32, 88)
    settings: dict[str, Any] = {
        "recall": {
            "data": f"mqar:pairs={pairs},length={frames},vocab={2 * frames}",
            "keys": {"d_model": width, "n_layers": 2, "n_heads": 4 if full else 2, "short_conv": 4},
            # the logits of the decay take d_model * n_heads weights a block: fixed decay gets a feed-forward unit more
            "d_ff": {"gated": d_ff, "fixed": d_ff + 1},
            "steps": 2000 if full else 800,
            "batch_size": 32,
            "rates": [3e-3, 1e-2] if full else [1e-2],
        },
        "text": {
            "data": f"text:length={256 if full else 128}",
            "keys": {"d_model": 128 if full else 64, "n_layers": 4 if full else 2, "n_heads": 4},
            "d_ff": {"gated": 344, "fixed": 345} if full else {"gated": 176, "fixed": 177},
            "steps": 700 if full else 300,
            "batch_size": 16,
            "rates": [1e-3, 3e-3] if full else [3e-3],
        },
        "without_conv": full,
    }
    most = pairs.rpartition("+")[2]
    figures = [
        Figure("recall_gated", f"MQAR, right of up to {most} pairs, gated retention", "%"),
        Figure("recall_fixed", f"MQAR, right of up to {most} pairs, fixed decay", "%"),
        Figure("text_gated", "text, gated retention", "bits per byte"),
        Figure("text_fixed", "text, fixed decay", "bits per byte"),
        Figure("recall_behind", "MQAR: fixed's mean - joint spread - gated's mean", "%", most=0.0),
        Figure("text_behind", "text: gated's mean - joint spread - fixed's mean", "bits per byte", most=0.0),
        Figure("ahead", "tasks of the two on which gated's mean is the better", least=1.0),
    ]
    if full:
        figures[4:4] = [
            Figure("plain_gated", "MQAR without the short convolution, gated retention", "%"),
            Figure("plain_fixed", "MQAR without the short convolution, fixed decay", "%"),
        ]
    note = (
        "Equal weights within 0.2 %: the same network but for the decay, and one more feed-forward unit where it is "
        "fixed. "
        f"MQAR in {frames} frames, {pairs.replace('+', ', ')} pairs, a short convolution of 4 over q, k and v in both. "
        f"Text: the sources of Python's library in windows of {256 if full else 128} bytes, whole files held out, no "
        "short convolution. The joint spread is the root of the sum of both variances over seeds."
    )
    if not full:
        note += " Minutes of training: two seeds, smaller networks, neither task near its end; the full tier trains on."
    return Plan((0, 1, 2) if full else (0, 1), settings, tuple(figures), note)


def trial(settings: dict[str, Any], seed: int, folder: Path, tell: Tell) -> dict[str, Any]:
    """One seed: both networks on both tasks, the test part of each looked at once."""
    asked = {task: settings[task] for task in TASKS}
    if settings["without_conv"]:
        asked["plain"] = {**settings["recall"], "keys": {**settings["recall"]["keys"], "short_conv": 0}}
    figures, learned, described = {}, {}, {}
    for task, what in asked.items():
        dataset = data.load(what["data"])
        described[task] = dataset.describe()
        for name, model in MODELS.items():
            keys = {**what["keys"], "d_ff": what["d_ff"][name]}
            order = Order(model, keys, what["data"], steps=what["steps"], seed=seed, batch_size=what["batch_size"])
            found = learn(order, what["rates"], dataset, folder / f"{task}-{name}", tell)
            figures[f"{task}_{name}"] = found.score(dataset.test, 1 if task == "text" else 100)
            learned[f"{task}_{name}"] = found.facts()
    return {"figures": figures, "learned": learned, "data": described}


def joint(trials: list[dict[str, Any]]) -> dict[str, float | None]:
    """What the rule asks of all seeds: is gated retention not below the other by more than the spread, is it above?"""
    found: dict[str, float | None] = {}
    ahead = 0
    for task, sign in TASKS.items():
        gated, fixed = ([t["figures"][f"{task}_{name}"] for t in trials] for name in MODELS)
        if None in gated + fixed:
            return {"recall_behind": None, "text_behind": None, "ahead": None}
        lead = sign * (mean(gated) - mean(fixed))
        spread = hypot(stdev(gated), stdev(fixed)) if len(trials) > 1 else 0.0
        found[f"{task}_behind"] = -lead - spread
        ahead += lead > 0
    return {**found, "ahead": float(ahead)}


def picture(record: dict[str, Any], trials: list[dict[str, Any]]) -> str:
    found = {f["key"]: f for f in record["figures"]}
    recall, text = ([digits3(found[f"{task}_{name}"]["ours"]) for name in MODELS] for task in ("recall", "text"))
    answer = (
        f"A decay that each frame chooses recalls {recall[0]} % of MQAR's pairs, a fixed one {recall[1]} %; "
        f"text takes {text[0]} bits a byte, and {text[1]}"
    )
    colour, charts = ink("retention and delta"), []
    for task, words, scale in (
        ("recall", "MQAR: right on the dev part, %", 100),
        ("text", "text: bits per byte, dev", 1),
    ):
        lines = []
        for name, label, dash in (("gated", "gated retention", False), ("fixed", "fixed decay", True)):
            for i, t in enumerate(trials):
                course = t["learned"][f"{task}_{name}"]["curve"]
                xs, ys = [x for x, _ in course], [scale * y for _, y in course]
                lines.append(Line(xs, ys, colour, "" if i else label, dash=dash))
        charts.append(
            Chart(
                lines,
                Axis("training steps"),
                Axis(words, low=0, high=100) if task == "recall" else Axis(words),
                height=230,
            )
        )
    note = (
        f"{'One seed' if len(trials) == 1 else f'{len(trials)} seeds'}, a line each; equal weights. The title's scores "
        "are of the test parts. Accepted if not behind by more than the spread on both and ahead on one: "
        f"{'yes' if record['verdict'] == 'PASS' else 'no'}."
    )
    return draw(answer, note, charts)


CLAIM = Claim(
    name="gated_retention",
    structure="gated_retention",
    source="Sun et al. 2024, arXiv:2405.05254 (YOCO), section 3.1",
    says="A decay that depends on the frame remembers better than a fixed one.",
    paper="gated retention is the self-decoder of YOCO; lower language-modelling loss than RetNet (p)",
    plan=plan,
    trial=trial,
    picture=picture,
    joint=joint,
)
