"""DSN: hidden layers that answer too make a deep network learn more from few examples (Lee et al. 2014)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina import data
from lamina.core import taps
from lamina.data import DataSet, Split
from lamina.data.batch import in_order
from lamina.reproduce.claim import Claim, Figure, Plan, Tell, Tier, digits3
from lamina.reproduce.learn import learn
from lamina.reproduce.picture import Axis, Chart, Line, draw, ink
from lamina.tasks import Task
from lamina.tasks.companion import regions
from lamina.train import Order

__all__ = ["CLAIM"]

WAYS = {"with": None, "without": 0}  # the companions of an order: the model's own, or none
FIRST = "stages.0"  # the first hidden output that has a companion
LOOKS = {"with": (ink("convolution"), "companions"), "without": ("", "no companions")}  # colour and words of a line


def plan(tier: Tier) -> Plan:
    full = tier == "full"
    settings: dict[str, Any] = {
        "data": "mnist" if full else "digits",
        "keys": {"channels": 8, "n_layers": 3},
        "sizes": [[1000, 800], [5000, 2000], [50000, 8000]] if full else [[1000, 300]],  # images, steps
        "batch_size": 32,
        "rates": [1e-3, 3e-3],
    }
    sizes = [n for n, _ in settings["sizes"]]
    ruled = sizes[:2]
    figures = [
        Figure(f"less_{n}", f"{n:,} images: errors with companions less errors without", "%", below=0.0) for n in ruled
    ]
    for n in sizes:
        paper = "0.39 % on MNIST's test part, trained on 60,000 (p)" if n == 50000 else None
        figures.append(Figure(f"with_{n}", f"{n:,} images: errors with companions", "%", paper))
        figures.append(Figure(f"without_{n}", f"{n:,} images: errors without", "%"))
    for name in WAYS:
        what = f"{ruled[0]:,} images, {name} companions: errors read off the first stage"
        figures.append(Figure(f"early_{name}_{ruled[0]}", what, "%"))
    note = (
        "The same nine convolutions and two dense layers, ReLU, no norm, no skip, from the same first weights and on "
        "the same batches: with a softmax on each of three hidden outputs while it learns, and without; each at the "
        "better of two rates on the dev part. The paper's companions are linear machines with a squared hinge, its "
        "network is another. "
    )
    if full:
        note += (
            "1,000 and 5,000 of MNIST's training images, drawn anew for each seed, and 49,998, seen 26, 13 and 5 "
            "times; 5,001 others judge, its test part is not used. "
        )
    else:
        note += (
            "scikit-learn's 8x8 digits, enlarged to 32x32: 1,000 to learn from, each seen ten times, 359 others judge, "
            "one seed. The full tier takes 1,000, 5,000 and 49,998 images of MNIST. "
        )
    note += (
        "Read off the first stage: a linear classifier learned from its output in the trained network. Companions "
        "below CTC are not measured here."
    )
    return Plan((0, 1, 2) if full else (0,), settings, tuple(figures), note)


def trial(settings: dict[str, Any], seed: int, folder: Path, tell: Tell) -> dict[str, Any]:
    """One seed: both networks on each number of images, the held-out part looked at once by each."""
    whole = data.load(settings["data"])
    figures: dict[str, float | None] = {}
    learned = {}
    for n, steps in settings["sizes"]:
        dataset = _part(whole, n, seed)
        for name, companions in WAYS.items():
            order = Order(
                "dsn", settings["keys"], settings["data"], steps, seed=seed, batch_size=settings["batch_size"],
                companions=companions,
            )  # fmt: skip
            found = learn(order, settings["rates"], dataset, folder / f"{name}-{n}", tell)
            right = found.score(dataset.test, 100)
            figures[f"{name}_{n}"] = None if right is None else 100 - right
            figures[f"early_{name}_{n}"] = None if right is None else _read_off(found.task, dataset)
            learned[f"{name}_{n}"] = found.facts()
        with_, without = (figures[f"{name}_{n}"] for name in WAYS)
        figures[f"less_{n}"] = None if with_ is None or without is None else with_ - without
    return {"figures": figures, "learned": learned, "data": whole.describe()}


def _part(dataset: DataSet, n: int, seed: int) -> DataSet:
    """The data set with n of its training examples, at most all of them, drawn by the seed."""
    rows = torch.randperm(len(dataset.train), generator=torch.Generator().manual_seed(seed))[:n]
    return replace(dataset, train=dataset.train.part(rows))


def _read_off(task: Task, dataset: DataSet) -> float:
    """Per cent of held-out errors of a linear classifier of the first stage's output, learned on the training part."""
    x = _features(task, dataset.train)
    centre, scale = x.mean(0), x.std(0).clamp(min=1e-3)
    layer = nn.Linear(x.shape[1], task.n_out)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    x = (x - centre) / scale
    search = torch.optim.LBFGS(layer.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = F.cross_entropy(layer(x), dataset.train.y) + 1e-3 * layer.weight.square().sum()
        value.backward()
        return value

    search.step(loss)
    with torch.no_grad():
        told = layer((_features(task, dataset.test) - centre) / scale).argmax(-1)
    return 100 * float((told != dataset.test.y).double().mean())


def _features(task: Task, part: Split) -> Tensor:
    """What a companion head on the first stage sees of a part: [N,16 C]."""
    found = []
    with torch.no_grad(), taps(task.backbone, [FIRST]) as seen:
        for rows in in_order(part, 512):
            task(part.rows(rows))
            found.append(regions(seen[FIRST]))
    return torch.cat(found)


def picture(record: dict[str, Any], trials: list[dict[str, Any]]) -> str:
    settings = record["settings"]
    sizes = [n for n, _ in settings["sizes"]]
    ruled = next(n for n in sizes if any(f["key"] == f"less_{n}" for f in record["figures"]))
    found = {f["key"]: f for f in record["figures"]}
    with_, without = (digits3(found[f"{name}_{ruled}"]["ours"], "%") for name in WAYS)
    name = {"mnist": "MNIST's", "digits": "the 8x8"}[settings["data"]]
    answer = (
        f"Trained on {ruled:,} images, a deep network whose hidden layers answered too misreads {with_} of {name} "
        f"held-out digits, the same network without companions {without}"
    )
    early = [digits3(found[f"early_{way}_{ruled}"]["ours"], "%") for way in WAYS]
    note = (
        f"{'One seed' if len(trials) == 1 else f'{len(trials)} seeds'}; dots: errors on the held-out images. Both "
        "networks begin with the same weights and see the same batches. A linear classifier of the first stage's "
        f"output alone misreads {early[0]} where it had a companion, {early[1]} where it had none."
    )
    course = _course(trials, ruled)
    return draw(answer, note, [_by_size(trials, sizes), course] if len(sizes) > 1 else [course])


def _by_size(trials: list[dict[str, Any]], sizes: list[int]) -> Chart:
    """Held-out errors against the number of images: a dot a seed, their spread, a line through the means."""
    lines = []
    for way, (colour, words) in LOOKS.items():
        means = []
        for n in sizes:
            scores = _scores(trials, f"{way}_{n}")
            if scores:
                means.append((n, mean(scores)))
                lines.append(Line([n, n], [min(scores), max(scores)], colour))
                lines.append(Line([n] * len(scores), scores, colour, line=False, marks=True))
        lines.append(Line([n for n, _ in means], [m for _, m in means], colour, words, dash=way == "without"))
    return Chart(
        lines,
        Axis("training images (log)", log=True, low=sizes[0] / 1.3, high=sizes[-1] * 1.3, ticks=tuple(sizes)),
        Axis("errors on held-out images, % (log)", log=True, ticks=(0.5, 1, 2, 3, 5, 10, 20)),
    )


def _course(trials: list[dict[str, Any]], n: int) -> Chart:
    """Errors on the dev part during training on n images, and at its end on the held-out part."""
    lines = []
    for way, (colour, words) in LOOKS.items():
        for i, t in enumerate(trials):
            curve = t["learned"][f"{way}_{n}"]["curve"]
            xs, ys = [step for step, _ in curve], [100 * (1 - score) for _, score in curve]
            lines.append(Line(xs, ys, colour, "" if i else words, dash=way == "without"))
            scores = _scores([t], f"{way}_{n}")
            lines.append(Line(xs[-1:] * len(scores), scores, colour, line=False, marks=True))
    return Chart(
        lines,
        Axis(f"training steps, {n:,} images"),
        Axis("errors on the dev part, % (log)", log=True, ticks=(1, 2, 5, 10, 20, 50, 100)),
    )


def _scores(trials: list[dict[str, Any]], key: str) -> list[float]:
    """The figure of each seed that has one."""
    return [t["figures"][key] for t in trials if t["figures"][key] is not None]


CLAIM = Claim(
    name="dsn",
    structure="dsn",
    source="Lee, Xie, Gallagher, Zhang & Tu 2014, arXiv:1409.5185",
    says="Companion losses on hidden layers: fewer errors, most of all where examples are few.",
    paper="MNIST 0.39 %, CIFAR-10 9.69 % without augmentation; the gain is larger at few samples (p)",
    plan=plan,
    trial=trial,
    picture=picture,
)
