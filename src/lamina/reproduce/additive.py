"""Additive attention: a decoder that looks back does not lose the thread of long sentences (Bahdanau et al. 2014)."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from lamina import data
from lamina.reproduce.claim import Claim, Figure, Plan, Tell, Tier, digits3
from lamina.reproduce.learn import learn
from lamina.reproduce.picture import Axis, Chart, Line, draw, ink
from lamina.reproduce.translation import by_length, map_of, of_length, score, word_map
from lamina.train import Order

__all__ = ["CLAIM"]

TRAINED, TWICE = 20, 40  # words of the longest sources to learn from, and of those that the rule asks about
BUCKETS = (10, 15, 20, 25, 60)  # tokens of Multi30k's sources


def plan(tier: Tier) -> Plan:
    full = tier == "full"
    settings: dict[str, Any] = {
        "dates": {
            "data": f"dates:length={TRAINED}",
            "keys": {"d_model": 128 if full else 64},
            "steps": 3000 if full else 600,
            "batch_size": 64,
            "rates": [5e-3, 1e-2] if full else [1e-2],
        },
        "beams": 4 if full else 1,
    }
    if full:
        settings["multi30k"] = {
            "data": "multi30k",
            "keys": {"d_model": 256, "dropout": 0.2},
            "steps": 2000,
            "batch_size": 64,
            "rates": [2e-3],
        }
    figures = [
        Figure("ratio", "share of BLEU lost at twice the length, with attention / without", most=0.5),
        Figure("lost_with", f"dates: BLEU lost from {TRAINED} to {TWICE} words, with attention", "%"),
        Figure("lost_without", f"dates: BLEU lost from {TRAINED} to {TWICE} words, without", "%"),
        Figure("test_with", f"dates: BLEU of sources of up to {TRAINED} words, with attention"),
        Figure("test_without", f"dates: BLEU of sources of up to {TRAINED} words, without"),
    ]
    note = (
        f"Dates and numbers in words, to be written in digits; sources of 3 to {TRAINED} words to learn from, of 5 to "
        "60 to judge. Without attention the decoder knows what the bidirectional encoder says at the first word, in "
        "every frame. What is lost is a share of the network's own BLEU at the trained length. "
    )
    if full:
        figures += [
            Figure("multi30k_with", "Multi30k, English to German: BLEU with attention", "", "26.75 on WMT14 en-fr (p)"),
            Figure("multi30k_without", "Multi30k: BLEU without", "", "17.82 on WMT14 en-fr (p)"),
        ]
        note += "Multi30k: 28,000 captions to learn from; the published validation part is the test part."
    else:
        note += "600 steps of 64, one seed, the likeliest word every time; the full tier adds Multi30k."
    return Plan((0, 1) if full else (0,), settings, tuple(figures), note)  # an hour a seed


def trial(settings: dict[str, Any], seed: int, folder: Path, tell: Tell) -> dict[str, Any]:
    """One seed: both networks on each data set; the test parts looked at once."""
    figures: dict[str, float | None] = {}
    found: dict[str, Any] = {"learned": {}, "data": {}}
    beams = settings["beams"]
    for name, kind in product(("dates", "multi30k"), ("with", "without")):
        if name not in settings:
            continue
        what = settings[name]
        dataset = data.load(what["data"])
        keys = {**what["keys"], "attention": kind == "with"}
        order = Order("seq2seq", keys, what["data"], steps=what["steps"], seed=seed, batch_size=what["batch_size"])
        net = learn(order, what["rates"], dataset, folder / f"{name}-{kind}", tell)
        found["learned"][f"{name}_{kind}"], found["data"][name] = net.facts(), dataset.describe()
        if net.history.diverged:
            return {"figures": {}, **found}
        if name == "multi30k":
            figures[f"multi30k_{kind}"] = score(net.task, dataset, dataset.test, beams)
            found[f"multi30k_{kind}"] = by_length(net.task, dataset, dataset.test, beams, BUCKETS)
            continue
        course = {words: score(net.task, dataset, part, beams) for words, part in dataset.probes.items()}
        found[f"dates_{kind}"] = [list(pair) for pair in course.items()]
        figures[f"test_{kind}"] = score(net.task, dataset, dataset.test, beams)
        figures[f"lost_{kind}"] = 100 * (1 - course[TWICE] / course[TRAINED]) if course[TRAINED] else None
        if kind == "with":
            found["map"] = map_of(net.task, dataset, dataset.test, of_length(dataset.test, 14))
    lost = figures["lost_with"], figures["lost_without"]
    figures["ratio"] = lost[0] / lost[1] if lost[0] is not None and lost[1] else None
    return {"figures": figures, **found}


def picture(record: dict[str, Any], trials: list[dict[str, Any]]) -> str:
    found = {f["key"]: f for f in record["figures"]}
    lost = [digits3(found[f"lost_{kind}"]["ours"]) for kind in ("with", "without")]
    answer = (
        f"At twice the trained length a decoder that looks back loses {lost[0]} % of its BLEU, "
        f"one that cannot {lost[1]} %"
    )
    parts: list[Any] = []
    for name, words, longest in (("dates", "words", True), ("multi30k", "tokens", False)):
        if f"{name}_with" not in trials[0]:
            continue
        lines = []
        for kind, family, dash in (("with", "attention", False), ("without", "recurrence", True)):
            for i, t in enumerate(trials):
                xs, ys = [row[0] for row in t[f"{name}_{kind}"]], [row[1] for row in t[f"{name}_{kind}"]]
                label = f"{kind} attention" if i == 0 else ""
                lines.append(Line(xs, ys, ink(family), label, dash=dash, marks=True))
        about = "dates and numbers: BLEU" if longest else "Multi30k, English to German: BLEU"
        parts.append(Chart(lines, Axis(f"{words} of the source"), Axis(about, low=0), height=240))
    if "map" in trials[0]:
        parts.append(
            word_map(trials[0]["map"], "Where each word told (rows) looked in the source (columns)", "attention")
        )
    seeds = "One seed" if len(trials) == 1 else f"{len(trials)} seeds, a line each"
    ratio = digits3(found["ratio"]["ours"])
    note = (
        f"{seeds}; learnt from sources of up to {TRAINED} words. What is lost with attention is {ratio} of what is "
        f"lost without, accepted up to 0.5: {'yes' if record['verdict'] == 'PASS' else 'no'}."
    )
    return draw(answer, note, parts)


CLAIM = Claim(
    name="additive",
    structure="seq2seq",
    source="Bahdanau, Cho & Bengio 2014, arXiv:1409.0473",
    says="A decoder that looks back at the source translates long sentences as well as short ones.",
    paper="RNNsearch-50 26.75 BLEU, RNNencdec-50 17.82; no fall on long sentences (p)",
    plan=plan,
    trial=trial,
    picture=picture,
)
