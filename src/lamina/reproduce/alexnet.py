"""AlexNet: ReLUs learn sooner than tanh, dropout narrows the gap (Krizhevsky, Sutskever & Hinton 2012)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from lamina import data, interop, models
from lamina.data import DataSet, Split
from lamina.reproduce.claim import Claim, Figure, Plan, Tell, Tier, digits3
from lamina.reproduce.picture import Axis, Chart, Line, draw, ink
from lamina.tasks import Task
from lamina.train import Order, evaluate, fit

__all__ = ["CLAIM"]

GOAL = 25.0  # per cent of training error
KINDS = ("relu", "tanh")


def plan(tier: Tier) -> Plan:
    full = tier == "full"
    settings: dict[str, Any] = {
        "data": "cifar10" if full else "digits",
        # the rates with which each came to 25 % soonest, on fewer images and with seeds from 100 on
        "soon": {
            "side": 32 if full else 16, "channels": [32, 32, 64], "batch_size": 64 if full else 32,
            "rates": {"relu": 0.01, "tanh": 0.02} if full else {"relu": 0.05, "tanh": 0.06},
            "passes": 40 if full else 5, "looks": 1 if full else 12,
        },
        "dropout": {
            "images": 5000 if full else 100, "width": 8 if full else 4, "d_ff": 1024, "passes": 20 if full else 50,
            "batch_size": 64 if full else 32, "lr": 1e-3,
        },
        "whole": {"width": 32, "d_ff": 4096, "n_classes": 1000},
    }  # fmt: skip
    figures = (
        Figure("sooner", f"passes to {GOAL:g} % training error, ReLU / tanh", paper="about 1/6 (p)", below=1.0),
        Figure("gap", "loss on the held-out part less that in training, with dropout / without", below=1.0),
        Figure("logits", "greatest difference to torchvision's layers, of the greatest logit", most=1e-4),
        Figure("relu", "ReLU: passes", paper="about 6 (p)"),
        Figure("tanh", "tanh: passes", paper="about 36 (p)"),
        Figure("with", "errors on the held-out part less those in training, with dropout", "points"),
        Figure("without", "errors on the held-out part less those in training, without", "points"),
    )
    words = (
        ("8,000 photographs of CIFAR-10", "5,000 of them", "500")
        if full
        else ("scikit-learn's digits at 16x16", "100 of them at 32x32", "359")
    )
    note = (
        f"Three convolutions and a dense layer on {words[0]}, momentum at one rate for each function, nothing that "
        f"regularises; alexnet with a half of its dense units dropped or none on {words[1]}, the gap in cross-entropy "
        f"on {words[2]} held-out ones; the whole network of 61,100,840 weights from a state dict in torchvision's "
        "layout with random weights."
    )
    if not full:
        note += " The full tier takes CIFAR-10's photographs, by the same rules."
    return Plan((0, 1, 2) if full else (0, 1), settings, figures, note)


def trial(settings: dict[str, Any], seed: int, folder: Path, tell: Tell) -> dict[str, Any]:
    """One seed of the three parts: ReLU against tanh, dropout against none, and the whole network's logits."""
    dataset = data.load(settings["data"])
    with torch.random.fork_rng(devices=[]):
        soon = {kind: _soon(dataset, kind, seed, tell, **settings["soon"]) for kind in KINDS}
        gaps = {
            name: _gap(dataset, p, seed, folder / name, tell, **settings["dropout"])
            for name, p in (("with", 0.5), ("without", 0.0))
        }
        tell("the whole network", 0, 1)
        logits = _logits(seed, folder, **settings["whole"])
    relu, tanh = (soon[kind]["passes"] for kind in KINDS)
    inside, outside = (gaps[name] for name in ("with", "without"))
    return {
        "figures": {
            # where tanh never got there its last pass stands, which can only make the ratio worse
            "sooner": relu / (tanh or settings["soon"]["passes"]) if relu else None,
            "gap": inside["gap"] / outside["gap"] if inside["gap"] is not None and outside["gap"] else None,
            "logits": logits,
            "relu": relu,
            "tanh": tanh,
            "with": inside["test_error"] - inside["train_error"],
            "without": outside["test_error"] - outside["train_error"],
        },
        "soon": soon,
        "gaps": gaps,
        "data": dataset.describe(),
    }


def _four_layers(side: int, channels: list[int], kind: str, colours: int, n_out: int) -> nn.Module:
    """Three convolutions of 5x5, each with overlapping pooling behind it, and a dense layer: as in Figure 1."""
    layers: list[nn.Module] = []
    for narrow, wide in pairwise((colours, *channels)):
        function = nn.ReLU() if kind == "relu" else nn.Tanh()
        layers += [nn.Conv2d(narrow, wide, 5, padding=2), function, nn.MaxPool2d(3, 2, padding=1)]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * (side // 8) ** 2, n_out))
    net.image_shape = (colours, side, side)  # type: ignore[assignment]
    return net


def _soon(
    dataset: DataSet,
    kind: str,
    seed: int,
    tell: Tell,
    *,
    side: int,
    channels: list[int],
    batch_size: int,
    rates: dict[str, float],
    passes: int,
    looks: int,
) -> dict[str, Any]:
    """Passes through the training part until 25 % of it is wrong, None where that takes more than `passes`.

    Plain gradient descent with momentum at one rate and nothing that regularises, as in the paper. The training part
    is scored `looks` times a pass.
    """
    torch.manual_seed(seed)
    net = _four_layers(side, channels, kind, dataset.shape[0], dataset.n_out)
    images = data.view(dataset, models.find("alexnet"), net)(dataset.train.x)
    assert isinstance(images, Tensor)
    optimizer = torch.optim.SGD(net.parameters(), rates[kind], momentum=0.9)
    target, a_pass = dataset.train.y, len(images) // batch_size
    curve = [[0.0, _wrong(net, images, target)]]
    for step in range(1, passes * a_pass + 1):
        if (step - 1) % a_pass == 0:
            order = torch.randperm(len(images))
        rows = order[(step - 1) % a_pass * batch_size :][:batch_size]
        optimizer.zero_grad()
        F.cross_entropy(net(images[rows]), target[rows]).backward()
        optimizer.step()
        if step % max(1, a_pass // looks) == 0:
            curve.append([step / a_pass, _wrong(net, images, target)])
            tell(f"{kind}: {curve[-1][1]:.0f} % training error", step, passes * a_pass)
            if curve[-1][1] <= GOAL:
                break
    at, error = curve[-1]
    return {"passes": at if error <= GOAL else None, "curve": curve, "rate": rates[kind]}


def _wrong(net: nn.Module, images: Tensor, target: Tensor) -> float:
    """Per cent of the images that the network takes for something else."""
    with torch.no_grad():
        right = sum(
            int((net(x).argmax(1) == y).sum()) for x, y in zip(images.split(500), target.split(500), strict=True)
        )
    return 100 * (1 - right / len(images))


def _gap(
    dataset: DataSet,
    dropout: float,
    seed: int,
    folder: Path,
    tell: Tell,
    *,
    images: int,
    width: int,
    d_ff: int,
    passes: int,
    batch_size: int,
    lr: float,
) -> dict[str, Any]:
    """How much worse the held-out part is told than the images learnt from, after training on so many of these."""
    few = _few(dataset, images)
    a_pass = len(few.train) // batch_size
    steps = passes * a_pass
    keys = {"width": width, "d_ff": d_ff, "dropout": dropout}
    task = Order("alexnet", keys, few.name, steps, lr, seed, batch_size).build(few)
    every = max(1, steps // 10)
    curve: list[list[float]] = []

    def look(step: int, _: float) -> None:
        tell(f"alexnet, dropout {dropout:g}", step, steps)
        if step % every == 0:
            curve.append([step / a_pass, _loss(task, few.train), _loss(task, few.dev)])

    history = fit(task, few, steps=steps, lr=lr, seed=seed, batch_size=batch_size, out=folder, on_step=look)
    train, test = (_loss(task, part) for part in (few.train, few.test))
    errors = (100 * (1 - evaluate(task, part)) for part in (few.train, few.test))
    return {
        "gap": None if history.diverged else test - train,
        **dict(zip(("train_error", "test_error"), errors, strict=True)),
        "train": train,
        "test": test,
        "curve": curve,
    }


def _loss(task: Task, part: Split) -> float:
    """The mean cross-entropy over a part, without dropout."""
    training = task.training
    task.eval()
    with torch.no_grad():
        pairs = [task.loss(part.rows(slice(i, i + 500))) for i in range(0, len(part), 500)]
    task.train(training)
    return float(sum(total for total, _ in pairs) / sum(count for _, count in pairs))


def _few(dataset: DataSet, images: int) -> DataSet:
    """The data set with so many images to learn from, the same for every seed."""
    rows = torch.randperm(len(dataset.train), generator=torch.Generator().manual_seed(0))[:images].sort().values
    return replace(dataset, train=dataset.train.part(rows), name=f"{dataset.name}, {len(rows)} images")


def _logits(seed: int, folder: Path, *, width: int, d_ff: int, n_classes: int) -> float:
    """The whole network of one tower, loaded from a file in torchvision's layout with random weights.

    Gives the greatest difference of its logits to those of torchvision's layers, over the greatest of these.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in _layout(width, d_ff, n_classes).items():
        deviation = (2 / prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.1
        weights[name] = deviation * torch.randn(shape, generator=generator)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "alexnet.safetensors"
    save_file(weights, path)
    images = torch.randn(2, 3, 224, 224, generator=generator)
    with torch.no_grad():
        ours, theirs = interop.load(path)(images), _theirs(weights, images)
    path.unlink()
    return float((ours - theirs).abs().max() / theirs.abs().max())


def _layout(width: int, d_ff: int, n_classes: int) -> dict[str, tuple[int, ...]]:
    """The names and shapes of torchvision's alexnet."""
    a, b, c, d, e = (units * width for units in (2, 6, 12, 8, 8))
    shapes: dict[str, tuple[int, ...]] = {
        "features.0": (a, 3, 11, 11), "features.3": (b, a, 5, 5), "features.6": (c, b, 3, 3),
        "features.8": (d, c, 3, 3), "features.10": (e, d, 3, 3), "classifier.1": (d_ff, e * 36),
        "classifier.4": (d_ff, d_ff), "classifier.6": (n_classes, d_ff),
    }  # fmt: skip
    return {f"{n}.{p}": s if p == "weight" else s[:1] for n, s in shapes.items() for p in ("weight", "bias")}


def _theirs(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """torchvision's layers in evaluation mode, as its source lists them, from its state dict."""

    def conv(x: Tensor, i: int, stride: int, padding: int) -> Tensor:
        return F.relu(F.conv2d(x, weights[f"features.{i}.weight"], weights[f"features.{i}.bias"], stride, padding))

    def dense(x: Tensor, i: int) -> Tensor:
        return F.linear(x, weights[f"classifier.{i}.weight"], weights[f"classifier.{i}.bias"])

    x = F.max_pool2d(conv(images, 0, 4, 2), 3, 2)
    x = F.max_pool2d(conv(x, 3, 1, 2), 3, 2)
    x = F.max_pool2d(conv(conv(conv(x, 6, 1, 1), 8, 1, 1), 10, 1, 1), 3, 2)
    x = F.adaptive_avg_pool2d(x, 6).flatten(1)
    return dense(F.relu(dense(F.relu(dense(x, 1)), 4)), 6)


def picture(record: dict[str, Any], trials: list[dict[str, Any]]) -> str:
    found = {f["key"]: f for f in record["figures"]}
    sooner, gap = found["sooner"], found["gap"]
    if sooner["ours"] is None:
        answer = f"ReLU does not come to {GOAL:g} % training error in time"
    else:
        answer = f"ReLU needs {digits3(sooner['ours'])} times as many passes as tanh to {GOAL:g} % training error"
    answer += f"; the gap with dropout is {digits3(gap['ours'])} times that without"
    colour = ink("convolution")
    lines = [
        Line([at for at, _ in course], [error for _, error in course], colour, dash=kind == "tanh")
        for kind in KINDS
        for course in (t["soon"][kind]["curve"] for t in trials)
    ]
    soon = Chart(
        lines,
        Axis("passes through the training part", low=0.0),
        Axis("training error, %: ReLU solid, tanh dashed, a line a seed", low=0.0, high=100.0),
        rules=((GOAL, f"{GOAL:g} %"),),
        height=250,
    )
    courses = []
    for name, said, tint in (("with", "dropout", colour), ("without", "none", "")):
        at, train, dev = zip(*trials[0]["gaps"][name]["curve"], strict=True)
        courses += [Line(at, dev, tint, f"{said}, dev part"), Line(at, train, tint, f"{said}, training", dash=True)]
    gaps = Chart(
        courses,
        Axis("passes through the training part"),
        Axis(f"cross-entropy (log), seed {record['seeds'][0]}", log=True),
        height=250,
    )
    points = " and ".join(digits3(found[key]["ours"]) for key in ("with", "without"))
    apart = found["logits"]["ours"]
    logits = "equal those of" if apart == 0 else f"are within {digits3(apart)} of"
    note = (
        f"{len(trials)} seeds. Held-out errors less training errors: {points} points with dropout and without. "
        f"The whole network's logits {logits} torchvision's layers on the same state dict."
    )
    return draw(answer, note, [soon, gaps])


CLAIM = Claim(
    name="alexnet",
    structure="alexnet",
    source="Krizhevsky, Sutskever & Hinton 2012, NIPS 25",
    says="ReLUs learn several times sooner than tanh, and dropout keeps a network from learning its images by heart.",
    paper="25 % training error on CIFAR-10 six times sooner with ReLU (p)",
    plan=plan,
    trial=trial,
    picture=picture,
)
