"""Conformer: attention for the far, convolution for the near, in every block (Gulati et al. 2020)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lamina import data
from lamina.data import Split
from lamina.data.batch import in_order
from lamina.reproduce.claim import Claim, Figure, Plan, Tell, Tier, digits3
from lamina.reproduce.learn import Learned, learn
from lamina.reproduce.picture import Axis, Chart, Dots, Line, draw, ink
from lamina.train import Order

__all__ = ["CLAIM", "NETS", "order"]

RIVALS = ("transformer", "lstm")
SETS = {"digits": "digit strings", "sentences": "sentences"}
HEARD = {"n_heads": 4, "left": 64, "rotary": False, "relative": True}  # attention, with the paper's positions
CONFORMER = {**HEARD, "n_layers": 2, "kernel": 15}
# the model, its keys, and those that size it at d_model 64 and 32, so that all have a Conformer's weights within 1.2 %
NETS: dict[str, tuple[str, dict[str, Any], dict[int, dict[str, int]]]] = {
    "conformer": ("conformer", CONFORMER, {64: {"d_model": 64, "d_ff": 256}, 32: {"d_model": 32, "d_ff": 128}}),
    "transformer": ("transformer", {**HEARD, "n_layers": 4}, {64: {"d_model": 64, "d_ff": 228}}),
    "lstm": ("lstm", {"n_layers": 2}, {64: {"d_model": 110}}),
    "no_convolution": (
        "conformer",
        {**CONFORMER, "kernel": 0},
        {64: {"d_model": 64, "d_ff": 309}, 32: {"d_model": 32, "d_ff": 157}},
    ),
    "no_macaron": ("conformer", {**CONFORMER, "macaron": False}, {64: {"d_model": 64, "d_ff": 513}}),
    "no_positions": ("conformer", {**CONFORMER, "relative": False}, {64: {"d_model": 64, "d_ff": 272}}),
}
WORDS = {
    "conformer": "Conformer",
    "transformer": "Transformer",
    "lstm": "LSTM",
    "no_convolution": "without convolution",
    "no_macaron": "without macaron",
    "no_positions": "without positions",
}
INKS = {name: "recurrence" if name == "lstm" else "attention" for name in NETS}


def plan(tier: Tier) -> Plan:
    return _full() if tier == "full" else _ci()


def _ci() -> Plan:
    nets = ["conformer", "no_convolution"]
    digits = {"data": "espeak_strings:snr=10", "nets": nets, "steps": 150, "batch_size": 16, "rates": [3e-3]}
    figures = (
        Figure("loss_ratio", "CTC loss with the convolution / without, equal steps", below=1.0),
        Figure("digits_nats_conformer", "CTC loss, Conformer", "nats a label"),
        Figure("digits_nats_no_convolution", "CTC loss without the convolution", "nats a label"),
        Figure("digits_conformer", "label errors, Conformer", "%"),
        Figure("digits_no_convolution", "label errors without the convolution", "%"),
    )
    note = (
        "One seed, a minute of training: 3 to 7 digits said by eSpeak NG, noise 10 dB below; the voices judged are in "
        "no other part. Two blocks of width 32, 150 steps; without the convolution the feed-forwards are wider: equal "
        "weights. The loss is that of the test part. The full tier has recorded digits, sentences and the rivals."
    )
    return Plan((0,), {"width": 32, "digits": digits}, figures, note)


def _full() -> Plan:
    rates = [1e-3, 3e-3]
    settings: dict[str, Any] = {
        "width": 64,
        "digits": {"data": "digit_strings:snr=10", "nets": list(NETS), "steps": 800, "batch_size": 16, "rates": rates},
        "sentences": {
            "data": "speechocean762",
            "nets": ["conformer", *RIVALS, "no_convolution"],
            "steps": 800,
            "batch_size": 16,
            "rates": rates,
        },
    }
    paper = {"digits": None, "sentences": "LibriSpeech 1.9/3.9 WER at 118.8M weights (p)"}
    figures = []
    for part, words in SETS.items():
        rival = f"{words}: Conformer's CER - the better of Transformer's and LSTM's"
        figures.append(Figure(f"{part}_behind", rival, "%", paper[part], below=0.0))
        convolution = f"{words}: Conformer's CER - that without the convolution"
        figures.append(Figure(f"{part}_unhurt", convolution, "%", "the convolution matters most (p)", below=0.0))
    figures += [
        Figure(f"{part}_{name}", f"{SETS[part]}: CER, {WORDS[name]}", "%")
        for part in SETS
        for name in settings[part]["nets"]
    ]
    digits, sentences = settings["digits"]["steps"], settings["sentences"]["steps"]
    note = (
        "Equal weights within 0.5 %, about 214,000: two Conformer blocks of width 64, four Transformer blocks, two "
        "LSTM layers of width 110; what an ablation takes away, its feed-forwards get. Every network hears the past "
        "only, 64 frames of 40 ms by attention, as a live caption would; the paper's hear the whole utterance. "
        "Digits: 3 to 7 recordings of the Free Spoken Digit Dataset joined, white noise 10 dB below; the recordings "
        "judged are in no other part, their four speakers are. Sentences: speechocean762, speakers apart, labels are "
        f"letters. The better of {len(rates)} rates by the dev part; {digits:,} and "
        f"{sentences:,} steps of 16 utterances. CER: the best path's edits / reference labels."
    )
    return Plan((0, 1, 2), settings, tuple(figures), note)


def order(name: str, width: int, what: dict[str, Any], seed: int) -> Order:
    """The order of a network of NETS at the size that goes with a Conformer of that width."""
    model, keys, sizes = NETS[name]
    # CTC from the first step, as the paper has it
    keys = {**keys, **sizes[width], "warm_start": 0}
    return Order(model, keys, what["data"], steps=what["steps"], seed=seed, batch_size=what["batch_size"])


def trial(settings: dict[str, Any], seed: int, folder: Path, tell: Tell) -> dict[str, Any]:
    """One seed: every network on its sets, the test part of each looked at once."""
    figures: dict[str, float | None] = {}
    learned, described = {}, {}
    for part in SETS:
        if part not in settings:
            continue
        what = settings[part]
        dataset = data.load(what["data"])
        described[part] = dataset.describe()
        for name in what["nets"]:
            one = order(name, settings["width"], what, seed)
            found = learn(one, what["rates"], dataset, folder / f"{part}-{name}", tell)
            figures[f"{part}_{name}"] = found.score(dataset.test, 100)
            figures[f"{part}_nats_{name}"] = _nats(found, dataset.test)
            learned[f"{part}_{name}"] = found.facts() | {
                "loss": [[step, loss] for step, loss in found.history.loss if step % 5 == 0]
            }
        figures |= _leads(part, figures)
    with_it, without = (figures[f"digits_nats_{name}"] for name in ("conformer", "no_convolution"))
    figures["loss_ratio"] = None if with_it is None or without is None else with_it / without
    return {"figures": figures, "learned": learned, "data": described}


def _leads(part: str, figures: dict[str, float | None]) -> dict[str, float | None]:
    """The Conformer's errors less those of the better rival, and less those without the convolution."""
    ours, rivals = figures[f"{part}_conformer"], [figures.get(f"{part}_{name}") for name in RIVALS]
    without = figures.get(f"{part}_no_convolution")
    theirs = [r for r in rivals if r is not None]
    return {
        f"{part}_behind": ours - min(theirs) if ours is not None and len(theirs) == len(rivals) else None,
        f"{part}_unhurt": ours - without if ours is not None and without is not None else None,
    }


@torch.no_grad()
def _nats(found: Learned, split: Split) -> float | None:
    """The loss of a whole part, nats a label."""
    if found.history.diverged:
        return None
    total = count = 0.0
    for rows in in_order(split, 512):
        loss, n = found.task.loss(split.rows(rows))
        total, count = total + float(loss), count + float(n)
    return total / count


def picture(record: dict[str, Any], trials: list[dict[str, Any]]) -> str:
    found = {f["key"]: f for f in record["figures"]}
    seeds = "One seed" if len(trials) == 1 else f"{len(trials)} seeds, a dot each; the bar is their range"
    if "sentences" not in record["settings"]:
        ours, theirs = (digits3(found[f"digits_nats_{name}"]["ours"]) for name in ("conformer", "no_convolution"))
        steps = record["settings"]["digits"]["steps"]
        answer = f"After {steps} steps a Conformer's CTC loss is {ours} nats a label, without its convolution {theirs}"
        lines = []
        for name, dash in (("conformer", False), ("no_convolution", True)):
            course = trials[0]["learned"][f"digits_{name}"]["loss"]
            xs, ys = [x for x, _ in course], [y for _, y in course]
            lines.append(Line(xs, ys, ink(INKS[name]), WORDS[name], dash=dash))
        chart = Chart(lines, Axis("training steps"), Axis("CTC loss of the batch, nats a label (log)", log=True))
        errors = [digits3(found[f"digits_{name}"]["ours"], "%") for name in ("conformer", "no_convolution")]
        note = (
            f"{seeds}, equal weights, synthesised digit strings. Label errors on unheard voices: {errors[0]} with the "
            f"convolution, {errors[1]} without. The title's losses are of the test part."
        )
        return draw(answer, note, [chart])
    parts = [_dots(part, words, record, trials) for part, words in SETS.items()]
    cer = {part: [digits3(found[f"{part}_{n}"]["ours"]) for n in ("conformer", *RIVALS)] for part in SETS}
    answer = (
        f"At equal weights a Conformer misreads {cer['digits'][0]} % of digits in noise, a Transformer "
        f"{cer['digits'][1]} %, an LSTM {cer['digits'][2]} %; of letters {cer['sentences'][0]}, "
        f"{cer['sentences'][1]} and {cer['sentences'][2]} %"
    )
    verdict = "yes" if record["verdict"] == "PASS" else "no"
    note = (
        f"{seeds}. Character errors on the test parts, less is better; what is below the line is a Conformer without a "
        f"part. Accepted if below both rivals and below it without convolution in every seed, on both sets: {verdict}."
    )
    return draw(answer, note, parts)


def _dots(part: str, words: str, record: dict[str, Any], trials: list[dict[str, Any]]) -> Dots:
    rows = []
    for name in record["settings"][part]["nets"]:
        scores = [s for t in trials if (s := t["figures"][f"{part}_{name}"]) is not None]
        rows.append((WORDS[name], scores, ink(INKS[name])))
    return Dots(rows, Axis(f"{words}: character errors, %", low=0), cut=1 + len(RIVALS))


CLAIM = Claim(
    name="conformer",
    structure="conformer",
    source="Gulati et al. 2020, arXiv:2005.08100",
    says="Speech needs both: attention over what is far, a convolution over what is near, in every block.",
    paper="LibriSpeech 1.9/3.9 WER at 118.8M weights; the convolution matters most of all parts (p)",
    plan=plan,
    trial=trial,
    picture=picture,
)
