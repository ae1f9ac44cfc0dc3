"""LeNet-5: shared filters read handwritten digits with few weights (LeCun, Bottou, Bengio & Haffner 1998)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lamina import data, models
from lamina.reproduce.claim import Claim, Figure, Plan, Tell, Tier, digits3
from lamina.reproduce.picture import Axis, Chart, Line, Tiles, draw, ink
from lamina.tasks import make
from lamina.train import evaluate, fit

__all__ = ["CLAIM"]

PAPER = 0.95  # per cent of errors on MNIST's test images, trained on 60,000 without distortions


def plan(tier: Tier) -> Plan:
    # the ci tier: the same data everywhere, and what pip installs
    name, epochs, most = ("mnist", 20, 1.2) if tier == "full" else ("digits", 60, 4.0)
    settings = {"data": name, "epochs": epochs, "batch_size": 64, "lr": 2e-3}
    figures = (
        Figure("error", f"{name}: errors on the held-out part", "%", f"{PAPER} % on MNIST's test part (p)", most=most),
        Figure("weights", "weights", "", "about 60,000 (p)"),
    )
    note = (
        f"{epochs} passes through the training part. The modern form of the network: ReLU, max pooling, every map "
        "connected to every other, a softmax. "
    )
    if name == "mnist":
        note += (
            "49,998 of MNIST's 60,000 training images to learn from, 5,001 others to judge; its test part is not used."
        )
    else:
        note += (
            "scikit-learn's 8x8 digits, enlarged to 32x32; accepted up to 4 %. The full tier takes 20 passes through "
            "MNIST and accepts 1.2 %."
        )
    return Plan((0,) if tier == "ci" else (0, 1, 2), settings, figures, note)


def trial(settings: dict[str, Any], seed: int, folder: Path, tell: Tell) -> dict[str, Any]:
    """One seed: training, the dev part after each pass, the held-out part once at the end."""
    dataset = data.load(settings["data"])
    row = models.find("lenet")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = models.create("lenet", n_classes=dataset.n_out)
        task = make(dataset, row, model)
    batch = min(settings["batch_size"], len(dataset.train))
    a_pass = len(dataset.train) // batch
    steps = settings["epochs"] * a_pass
    history = fit(
        task,
        dataset,
        steps=steps,
        lr=settings["lr"],
        seed=seed,
        batch_size=batch,
        out=folder / "lenet",
        eval_every=a_pass,
        on_step=lambda step, _: tell(settings["data"], step, steps),
    )
    filters = next(p for p in model.parameters() if p.dim() == 4)
    return {
        "figures": {
            "error": None if history.diverged else 100 * (1 - evaluate(task, dataset.test)),
            "weights": sum(p.numel() for p in task.parameters()),
        },
        "curve": [[step / a_pass, 100 * (1 - score)] for step, score in history.dev],
        "filters": filters.detach()[:, 0].tolist(),
        "data": dataset.describe(),
    }


def picture(record: dict[str, Any], trials: list[dict[str, Any]]) -> str:
    error, weights = record["figures"]
    name = {"mnist": "MNIST's held-out images", "digits": "the held-out 8x8 digits"}[record["settings"]["data"]]
    spread = "" if error["spread"] is None else f" ± {error['spread']:.2g}"
    verb = "misreads" if error["met"] else "misreads too many,"
    ours = "an unknown share" if error["ours"] is None else f"{error['ours']:.3g}{spread} %"
    answer = f"With {digits3(weights['ours'])} weights LeNet-5 {verb} {ours} of {name}"
    colour = ink("convolution")
    lines = [
        Line([x for x, _ in t["curve"]], [y for _, y in t["curve"]], colour, "dev part" if i == 0 else "")
        for i, t in enumerate(trials)
    ]
    last = record["settings"]["epochs"]
    held = [s for s in error["scores"] if s is not None]
    lines.append(Line([last] * len(held), held, "", "held-out part", line=False, marks=True))
    rules = [(float(error["accept"].split()[1]), f"accepted {error['accept'].replace('<=', '≤')}")]
    if record["settings"]["data"] == "mnist":
        rules.append((PAPER, f"paper {PAPER} % (p)"))
    low = 0.6 * min([y for t in trials for _, y in t["curve"] if y > 0] + held)
    chart = Chart(
        lines,
        Axis("passes through the training part"),
        Axis("errors, % (log)", log=True, low=low, ticks=(0.5, 1, 2, 5, 10, 20, 50)),
        rules=tuple(rules),
        height=270,
    )
    tiles = Tiles(
        trials[0]["filters"], f"The first layer's filters, seed {record['seeds'][0]}: light counts for, dark against"
    )
    seeds = "One seed" if len(trials) == 1 else f"{len(trials)} seeds"
    train, test = (f"{record['data'][part]:,}" for part in ("train", "test"))
    note = f"{seeds}; {train} images to learn from. Dots: the error on {test} held-out images, looked at once."
    return draw(answer, note, [chart, tiles])


CLAIM = Claim(
    name="lenet",
    structure="lenet",
    source="LeCun, Bottou, Bengio & Haffner 1998, Proceedings of the IEEE 86(11)",
    says="Local filters, shared weights and pooling read handwritten digits with about 60,000 weights.",
    paper="0.95 % test error on MNIST, 60,000 images, no distortions (p)",
    plan=plan,
    trial=trial,
    picture=picture,
)
