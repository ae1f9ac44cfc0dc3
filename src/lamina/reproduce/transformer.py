"""Transformer: attention alone translates, in less training time than a recurrence (Vaswani et al. 2017)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamina import data
from lamina.compare.budget import count, solve
from lamina.reproduce.claim import Claim, Figure, Plan, Tell, Tier, digits3
from lamina.reproduce.learn import learn
from lamina.reproduce.picture import Axis, Chart, Line, draw, ink
from lamina.reproduce.translation import by_length, map_of, of_length, score, word_map
from lamina.train import Order

__all__ = ["CLAIM"]

BUCKETS = (10, 15, 20, 25, 60)  # tokens of Multi30k's sources
KINDS = {"transformer": "Transformer", "rnn": "attention RNN", "places": "without positions", "head": "one head"}


def plan(tier: Tier) -> Plan:
    full = tier == "full"
    settings: dict[str, Any] = {
        "data": "multi30k" if full else "dates:length=20",
        "rnn": {"d_model": 256, "dropout": 0.2} if full else {"d_model": 64},
        "transformer": {"d_model": 256, "n_layers": 3, "dropout": 0.2} if full else {"d_model": 64, "n_layers": 2},
        "ablations": {"places": {"positions": "none"}, "head": {"n_heads": 1}} if full else {},
        "steps": 2000 if full else 1200,
        "batch_size": 64,
        "rates": {"rnn": [2e-3], "transformer": [1e-3]} if full else {"rnn": [1e-2], "transformer": [5e-3]},
        "beams": 4 if full else 1,
    }
    what = "Multi30k" if full else "dates"
    figures = [
        Figure("behind", f"{what}: BLEU of the attention RNN less the Transformer's", "", "negative (p)", most=0.0),
        Figure("time", "training time, the Transformer's / the RNN's", "", "a fraction (p)", below=1.0),
        Figure("bleu_transformer", f"{what}: BLEU, Transformer", "", "28.4 on WMT14 en-de (p)"),
        Figure("bleu_rnn", f"{what}: BLEU, attention RNN"),
    ]
    if full:
        figures += [
            Figure("bleu_places", f"{what}: BLEU, Transformer without positions"),
            Figure("bleu_head", f"{what}: BLEU, Transformer of one head"),
        ]
    note = (
        f"Equal weights (the Transformer's feed-forward is solved for the RNN's number), {settings['steps']:,} steps "
        "of 64 pairs each, one vocabulary for both sides and the output, label smoothing 0.1, norms before the layers. "
        "Time is one thread's, of the two trainings alone. "
    )
    if full:
        note += "English to German, 28,000 captions to learn from; the published validation part is the test part."
    else:
        note += "Dates and numbers in words, to be written in digits, sources of 3 to 20 words; one seed."
    return Plan((0, 1) if full else (0,), settings, tuple(figures), note)  # an hour a seed


def trial(settings: dict[str, Any], seed: int, folder: Path, tell: Tell) -> dict[str, Any]:
    """One seed: the RNN, the Transformer and its ablations; the test part looked at once by each."""
    dataset = data.load(settings["data"])
    budget = count("seq2seq", settings["rnn"], dataset)
    solved = solve("transformer_seq2seq", dataset, budget, settings["transformer"]).required("transformer", budget).keys
    networks = {"transformer": solved, "rnn": settings["rnn"]}
    networks |= {kind: {**solved, **keys} for kind, keys in settings["ablations"].items()}
    figures: dict[str, float | None] = {}
    found: dict[str, Any] = {"learned": {}, "lengths": {}, "data": dataset.describe(), "keys": networks}
    for kind, keys in networks.items():
        name, rates = ("seq2seq", "rnn") if kind == "rnn" else ("transformer_seq2seq", "transformer")
        sizes = {"steps": settings["steps"], "batch_size": settings["batch_size"]}
        net = learn(
            Order(name, keys, settings["data"], seed=seed, **sizes),
            settings["rates"][rates],
            dataset,
            folder / kind,
            tell,
        )
        found["learned"][kind] = net.facts()
        if net.history.diverged:
            figures[f"bleu_{kind}"] = None
            continue
        figures[f"bleu_{kind}"] = score(net.task, dataset, dataset.test, settings["beams"])
        if settings["ablations"]:
            found["lengths"][kind] = by_length(net.task, dataset, dataset.test, settings["beams"], BUCKETS)
        if kind == "transformer":
            found["map"] = map_of(net.task, dataset, dataset.test, of_length(dataset.test, 14))
    rnn, transformer = figures["bleu_rnn"], figures["bleu_transformer"]
    figures["behind"] = None if rnn is None or transformer is None else rnn - transformer
    figures["time"] = found["learned"]["transformer"]["seconds"] / found["learned"]["rnn"]["seconds"]
    return {"figures": figures, **found}


def picture(record: dict[str, Any], trials: list[dict[str, Any]]) -> str:
    found = {f["key"]: f for f in record["figures"]}
    bleu = [digits3(found[f"bleu_{kind}"]["ours"]) for kind in ("transformer", "rnn")]
    answer = (
        f"At equal weights and steps the Transformer comes to {bleu[0]} BLEU, the attention RNN to {bleu[1]}; "
        f"its training takes {digits3(found['time']['ours'])} of the time"
    )
    colours = {"rnn": ink("recurrence")}
    lines = []
    for kind in ("transformer", "rnn"):
        for i, t in enumerate(trials):
            course = t["learned"][kind]
            each = course["seconds"] / (60 * course["curve"][-1][0])
            xs, ys = [each * step for step, _ in course["curve"]], [100 * y for _, y in course["curve"]]
            lines.append(
                Line(xs, ys, colours.get(kind, ink("attention")), "" if i else KINDS[kind], dash=kind == "rnn")
            )
    axis = Axis("training, minutes on one thread", low=0)
    parts: list[Any] = [Chart(lines, axis, Axis("next word told right, dev part, %"), height=230)]
    if trials[0]["lengths"]:
        lines = []
        for kind in trials[0]["lengths"]:
            rows = trials[0]["lengths"][kind]
            colour = colours.get(kind, ink("attention"))
            label, dash = KINDS[kind], kind != "transformer"
            lines.append(Line([r[0] for r in rows], [r[1] for r in rows], colour, label, dash=dash, marks=True))
        words = Axis(f"tokens of the source, up to; seed {record['seeds'][0]}")
        parts.append(Chart(lines, words, Axis("BLEU by length", low=0), height=240))
    if "map" in trials[0]:
        title = "The last layer: where each word told (rows) looked in the source (columns)"
        parts.append(word_map(trials[0]["map"], title, "attention"))
    note = (
        f"{'One seed' if len(trials) == 1 else f'{len(trials)} seeds, a line each'}. Accepted if the Transformer is "
        f"not behind and takes less time: {'yes' if record['verdict'] == 'PASS' else 'no'}."
    )
    return draw(answer, note, parts)


CLAIM = Claim(
    name="transformer",
    structure="transformer_seq2seq",
    source="Vaswani et al. 2017, arXiv:1706.03762",
    says="Attention alone translates better than a recurrence with attention, and trains in less time.",
    paper="28.4 BLEU en-de and 41.8 en-fr on WMT14, at a fraction of the training cost (p)",
    plan=plan,
    trial=trial,
    picture=picture,
)
