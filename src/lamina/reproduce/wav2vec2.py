"""wav2vec 2.0: who was pretrained on masked speech needs few labels (Baevski, Zhou, Mohamed & Auli 2020)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lamina import data
from lamina.data import DataSet
from lamina.reproduce.claim import Claim, Figure, Plan, Tell, Tier, digits3
from lamina.reproduce.fitted import fitted
from lamina.reproduce.picture import Axis, Chart, Line, draw, ink
from lamina.train import Order, evaluate
from lamina.train.loop import further
from lamina.train.start import hold

__all__ = ["CLAIM"]

WORDS = {"ten": "10 minutes", "hour": "an hour", "all": "all 173 minutes"}
CODES = (
    Figure("times", "contrastive accuracy / chance", "times", above=5.0),
    Figure("codes", "perplexity of the codes, of as many as there are", "%", above=30.0),
    Figure("accuracy", "masked frames whose code is told from the others'", "%"),
    Figure("chance", "told by chance", "%"),
)


def plan(tier: Tier) -> Plan:
    return _full() if tier == "full" else _ci()


def _ci() -> Plan:
    settings: dict[str, Any] = {
        "keys": {
            "d_model": 64, "n_layers": 2, "kernel": 16,
            "conv_channels": [32, 48, 64], "conv_kernels": [16, 8, 8], "conv_strides": [8, 5, 4],
        },
        "pretrain": {
            "data": "unlabelled:espeak_strings",
            "codes": {"n_codes": 32, "d_code": 64, "d_told": 64, "distractors": 50},
            "steps": 500, "batch_size": 8, "lr": 2e-3,
        },
    }  # fmt: skip
    note = (
        "One seed: 1,000 digit strings said by eSpeak NG without their text, 8 kHz; the voices judged are in no other "
        "part. Two layers of width 64, a frame every 20 ms, two groups of 32 codes, 50 distractors, 500 steps of 8 "
        "strings. Chance is that of the distractors whose code is another. The full tier fine-tunes on real speech."
    )
    return Plan((0,), settings, CODES, note)


def _full() -> Plan:
    settings: dict[str, Any] = {
        "keys": {
            "d_model": 128, "n_layers": 3, "kernel": 32, "norm": "pre",
            "conv_channels": [48, 64, 96, 128], "conv_kernels": [20, 8, 4, 4], "conv_strides": [10, 4, 4, 2],
        },
        "pretrain": {
            "data": "unlabelled:librispeech_unlabelled+speechocean762,seconds=6",
            "codes": {"n_codes": 64, "d_code": 128, "d_told": 128, "distractors": 100},
            "steps": 2200, "batch_size": 12, "lr": 2e-3,
        },
        "tune": {
            "data": "samples:speechocean762",
            "minutes": {"ten": 10, "hour": 60, "all": None},
            "steps": {"ten": 700, "hour": 500, "all": 500},
            "rates": {"pretrained": 3e-3, "scratch": 3e-3},
            "batch_size": 12,
        },
    }  # fmt: skip
    paper = {"ten": "LibriSpeech 4.8/8.2 WER with 10 minutes (p)", "hour": None, "all": "1.8/3.3 WER with 960 h (p)"}
    tuned = [
        Figure(
            f"{part}_{kind}", f"{WORDS[part]} of labels, {words}: CER", "%", paper[part] if kind != "scratch" else None
        )
        for part in WORDS
        for kind, words in (("pretrained", "pretrained"), ("scratch", "from scratch"))
    ]
    figures = (
        Figure("ratio", "10 minutes of labels: CER pretrained / from scratch", below=1.0),
        replace(CODES[1]),
        *tuned,
        *(replace(figure, above=None) for figure in CODES if figure.key != "codes"),
    )
    tune, pretrain = settings["tune"], settings["pretrain"]
    steps, rows = pretrain["steps"], pretrain["batch_size"]
    equal, batch = ", ".join(f"{n:,}" for n in tune["steps"].values()), tune["batch_size"]
    note = (
        "A frame every 20 ms, three layers of width 128, norms before, two groups of 64 codes. Pretrained on an "
        "utterance of each of 251 LibriSpeech speakers and the training part of speechocean762 without its text, in "
        f"pieces of at most 6 s, {steps:,} steps of {rows}. Then CTC on letters of 10, "
        "60 and all 173 minutes of speechocean762, other utterances for each seed; after pretraining the convolutions "
        f"stay as they are for the first quarter. Equal steps of {batch} utterances: "
        f"{equal}. CER of the best path on 500 utterances of 25 other "
        "speakers, looked at once; no language model."
    )
    return Plan((0, 1, 2), settings, figures, note)


def trial(settings: dict[str, Any], seed: int, folder: Path, tell: Tell) -> dict[str, Any]:
    """One seed: pretraining; then, where there are labels to learn from, with its weights and with fresh ones."""
    how, tune = settings["pretrain"], settings.get("tune")
    dataset = data.load(how["data"])
    order = Order(
        "wav2vec2", settings["keys"] | how["codes"], how["data"], how["steps"], how["lr"], seed, how["batch_size"]
    )
    task = order.build(dataset)
    history = fitted(task, dataset, order, folder / "pretraining", tell, scored=5)
    found = {
        "curve": [[step, 100 * score] for step, score in history.dev],
        "notes": [list(note) for note in history.notes],
        "seconds": history.seconds,
        "weights": sum(p.numel() for p in task.parameters()),
        "data": dataset.describe(),
    }
    figures: dict[str, float | None] = {figure.key: None for figure in CODES}
    if not history.diverged:
        score, more = evaluate(task, dataset.test), further(task, dataset.test)
        figures = {
            "times": score / more["chance"],
            "codes": 100 * more["code_share"],
            "accuracy": 100 * score,
            "chance": 100 * more["chance"],
        }
    if not tune:
        return {"figures": figures, **found}
    start = {name: t for name, t in task.state_dict().items() if name.startswith("backbone.")}
    told, tuned = data.load(tune["data"]), {}
    for part, minutes in tune["minutes"].items():
        some = few(told, minutes, seed)
        for kind, weights in (("pretrained", start), ("scratch", {})):
            one = Order(
                "wav2vec2", settings["keys"], tune["data"], tune["steps"][part], tune["rates"][kind], seed,
                tune["batch_size"],
            )  # fmt: skip
            name = f"{part}_{kind}"
            tuned[name] = _tuned(one, some, weights, folder / name, tell)
            figures[name] = tuned[name]["score"]
    ours, theirs = figures["ten_pretrained"], figures["ten_scratch"]
    figures["ratio"] = ours / theirs if ours is not None and theirs else None
    return {"figures": figures, "tuned": tuned, **found}


def few(told: DataSet, minutes: float | None, seed: int) -> DataSet:
    """Training utterances of so many minutes at most, others for each seed; None for all."""
    if minutes is None:
        return told
    lengths, rate = told.train.lengths, told.rate
    assert lengths is not None
    assert rate is not None
    chosen = torch.randperm(len(told.train), generator=torch.Generator().manual_seed(2 * seed + 1))
    within = lengths[chosen].cumsum(0) <= minutes * 60 * rate
    return replace(told, name=f"{told.name}, {minutes:g} min", train=told.train.part(chosen[within]))


def _tuned(order: Order, some: DataSet, weights: dict[str, Tensor], folder: Path, tell: Tell) -> dict[str, Any]:
    """Trained with CTC from these weights, or from fresh ones where there are none."""
    task = order.build(some)
    if weights:
        task.load_state_dict(weights, strict=False)
        hold(task)
    history = fitted(task, some, order, folder, tell, scored=5)
    score = None if history.diverged else 100 * evaluate(task, some.test)
    curve = [[step, 100 * errors] for step, errors in history.dev]
    return {"score": score, "curve": curve, "seconds": history.seconds, "utterances": len(some.train)}


def picture(record: dict[str, Any], trials: list[dict[str, Any]]) -> str:
    found = {f["key"]: f for f in record["figures"]}
    colour, seeds = ink("attention"), "One seed" if len(trials) == 1 else f"{len(trials)} seeds"
    curves = [
        Line([x for x, _ in t["curve"]], [y for _, y in t["curve"]], colour, "" if i else "wav2vec 2.0")
        for i, t in enumerate(trials)
    ]
    chance, codes = found["chance"]["ours"], digits3(found["codes"]["ours"], "%")
    learned = Chart(
        curves,
        Axis("steps of pretraining"),
        Axis("masked frames told from the others, % of the dev part", low=0.0),
        rules=() if chance is None else ((chance, "chance"),),
        height=250,
    )
    if "ratio" not in found:
        accuracy = digits3(found["accuracy"]["ours"], "%")
        answer = (
            f"{accuracy} of masked frames are told from {_distractors(record)} others; by chance {digits3(chance, '%')}"
        )
        return draw(answer, f"{seeds}; the codes in use are {codes} of all.", [learned])
    ours, theirs = (digits3(found[f"ten_{kind}"]["ours"], "%") for kind in ("pretrained", "scratch"))
    answer = f"With 10 minutes of labels the CER is {ours} after pretraining, {theirs} from scratch"
    lines = [
        Line(
            [10, 60, 173],
            [found[f"{part}_{kind}"]["scores"][i] for part in WORDS],
            shade,
            "" if i else words,
            marks=True,
        )
        for kind, words, shade in (("pretrained", "pretrained", colour), ("scratch", "from scratch", ink("dense")))
        for i in range(len(trials))
    ]
    errors = Chart(
        lines,
        Axis("minutes of labels", log=True, ticks=(10, 60, 173)),
        Axis("CER on the test speakers, %"),
        height=230,
    )
    note = f"{seeds}; other utterances for each. Below: the pretraining; the codes in use are {codes} of all."
    return draw(answer, note, [errors, learned])


def _distractors(record: dict[str, Any]) -> int:
    return int(record["settings"]["pretrain"]["codes"]["distractors"])


CLAIM = Claim(
    name="wav2vec2",
    structure="wav2vec2",
    source="Baevski, Zhou, Mohamed & Auli 2020, arXiv:2006.11477",
    says="Pretraining on masked speech teaches its sounds without a text: a few minutes of labels then go far.",
    paper="LibriSpeech 4.8/8.2 WER with 10 minutes of labels after pretraining, 1.8/3.3 with 960 hours (p)",
    plan=plan,
    trial=trial,
    picture=picture,
)
