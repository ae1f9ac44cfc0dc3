"""MLP: back-propagation learns what no single layer can, and width buys accuracy (Rumelhart 1986; Cybenko 1989)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from math import inf, pi
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina import data, models
from lamina.core import Seq
from lamina.reproduce.claim import Claim, Figure, Plan, Tell, Tier, digits3
from lamina.reproduce.net import Headed
from lamina.reproduce.picture import Axis, Chart, Line, Row, draw, ink
from lamina.tasks import Classify
from lamina.train import evaluate, fit

__all__ = ["CLAIM"]


def plan(tier: Tier) -> Plan:
    name = "mnist" if tier == "full" else "digits"  # the ci tier: the same data everywhere
    pixels, least = {"mnist": (784, 97.5), "digits": (64, 95.0)}[name]
    settings: dict[str, Any] = {
        "xor": {"bits": 2, "hidden": 4, "steps": 500, "lr": 0.05},
        "parity": {"bits": 8, "hidden": 32, "steps": 2000, "lr": 0.02},
        "fit": {"widths": [4, 8, 16, 32, 64, 128, 256], "starts": 1 if tier == "ci" else 5, "steps": 1500, "lr": 0.01},
        "images": {"data": name, "hidden": 256, "epochs": 10 if name == "mnist" else 60, "batch_size": 64, "lr": 1e-3},
    }
    figures = (
        Figure("images", f"{name}, {pixels}-256-10: right on the held-out part", "%", least=least),
        Figure("xor", "XOR: patterns right", "%", "learned with 2 hidden units (p)", least=100.0),
        Figure("widening", "worst doubling of the width: new error / old error", below=1.0),
        Figure("gain", "error at the least width / error at the greatest", "x"),
        Figure("parity", "parity of 8 bits: patterns right", "%", "learned with as many hidden units as bits (p)"),
    )
    starts = settings["fit"]["starts"]
    note = (
        "XOR with 4 hidden units and parity with 32, all patterns learned. A 1-D function fitted at widths 4 to 256, "
        f"{'one start each' if starts == 1 else f'the best of {starts} starts by training error'}, judged between the "
        "training points. "
    )
    if name == "digits":
        note += "scikit-learn's 8x8 digits, 64-256-10, accepted from 95 % on; the full tier takes MNIST and 97.5 %."
    else:
        note += "784-256-10 on MNIST's training images, a part held out; MNIST's own test images are not used."
    return Plan((0, 1) if tier == "ci" else (0, 1, 2), settings, figures, note)


def trial(settings: dict[str, Any], seed: int, folder: Path, tell: Tell) -> dict[str, Any]:
    """One seed of all four experiments."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tell("XOR and parity", 0, 1)
        xor, parity = (_bits(**settings[key]) for key in ("xor", "parity"))
        fits = _widths(**settings["fit"], tell=tell)
        accuracy, described = _images(settings["images"], seed, folder, tell)
    errors = fits["errors"]
    return {
        "figures": {
            "images": accuracy,
            "xor": xor,
            "widening": max(after / before for before, after in pairwise(errors)),
            "gain": errors[0] / errors[-1],
            "parity": parity,
        },
        "fits": fits,
        "data": described,
    }


def _bits(bits: int, hidden: int, steps: int, lr: float) -> float:
    """Per cent of all 2^bits patterns whose parity a trained network tells. Parity of two bits is XOR."""
    patterns = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * bits)
    target = patterns.sum(1, keepdim=True) % 2
    net = Headed(models.create("mlp", d_model=bits, d_ff=hidden, activation="tanh"), 1)
    frames = Seq.of(2 * patterns[:, None] - 1)
    _whole_batch(net, lambda: F.binary_cross_entropy_with_logits(net(frames), target), steps, lr)
    with torch.no_grad():
        return 100 * float(((net(frames) > 0) == (target > 0.5)).double().mean())


def _function(x: Tensor) -> Tensor:
    """Three waves, one of them faster towards both ends; x in [-1,1]."""
    return torch.sin(2 * pi * x) + 0.5 * torch.sin(6 * pi * x) + 0.25 * torch.sin(10 * pi * x * x)


def _widths(widths: list[int], starts: int, steps: int, lr: float, tell: Tell) -> dict[str, Any]:
    """Root mean squared error between the training points, at each width, of the start best on the training points."""
    points, between = torch.linspace(-1, 1, 256)[:, None], torch.linspace(-1, 1, 1025)[:, None]
    target, grid = _function(points), torch.linspace(-1, 1, 129)[:, None]
    errors, curves = [], {}
    for i, width in enumerate(widths):
        least, best = inf, None
        for start in range(starts):
            tell(f"function fit at width {width}", i * starts + start, len(widths) * starts)
            net = Headed(models.create("mlp", d_model=1, d_ff=width, activation="tanh"), 1)
            _spread(net)
            found = _whole_batch(net, partial(_squared, net, Seq.of(points[:, None]), target), steps, lr)
            if best is None or found < least:
                least, best = found, net
        assert best is not None
        with torch.no_grad():
            errors.append(float(F.mse_loss(best(Seq.of(between[:, None])), _function(between)).sqrt()))
            curves[str(width)] = best(Seq.of(grid[:, None])).flatten().tolist()
    return {"widths": widths, "errors": errors, "curves": curves, "target": _function(grid).flatten().tolist()}


def _squared(net: nn.Module, frames: Seq, target: Tensor) -> Tensor:
    return F.mse_loss(net(frames), target)


def _spread(net: Headed) -> None:
    """The start of Nguyen & Widrow 1990: steep units whose steps lie evenly over [-1,1]; the head as it is."""
    for name, weight in net.body.named_parameters():
        steep = 0.7 * len(weight)
        with torch.no_grad():
            if name.endswith("weight"):
                weight.copy_(steep * torch.sign(torch.rand_like(weight) - 0.5))
            else:
                weight.uniform_(-steep, steep)


def _whole_batch(net: nn.Module, loss: Callable[[], Tensor], steps: int, lr: float) -> float:
    """Adam on all examples at once, one cycle of the learning rate; gives the loss of the trained network."""
    optimizer = torch.optim.Adam(net.parameters(), lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return float(loss())


def _images(settings: dict[str, Any], seed: int, folder: Path, tell: Tell) -> tuple[float | None, dict[str, Any]]:
    """Per cent of the held-out images that one hidden layer reads, and what the data are."""
    dataset = data.load(settings["data"])
    pixels = dataset.train.x[0].numel()
    body = models.create("mlp", d_model=pixels, d_ff=settings["hidden"])
    view = data.view(dataset, models.find("mlp"), body)
    task = Classify(view, Headed(body, dataset.n_out), dataset.n_out, own_head=True)
    batch = min(settings["batch_size"], len(dataset.train))
    steps = settings["epochs"] * (len(dataset.train) // batch)
    history = fit(
        task,
        dataset,
        steps=steps,
        lr=settings["lr"],
        seed=seed,
        batch_size=batch,
        out=folder / "images",
        on_step=lambda step, _: tell(settings["data"], step, steps),
    )
    return (None if history.diverged else 100 * evaluate(task, dataset.test)), dataset.describe()


def picture(record: dict[str, Any], trials: list[dict[str, Any]]) -> str:
    found = {f["key"]: f for f in record["figures"]}
    widths = trials[0]["fits"]["widths"]
    share = digits3(found["gain"]["ours"])
    always = "and" if found["widening"]["met"] else "but not"
    answer = f"From {widths[0]} to {widths[-1]} hidden units the error falls {share}-fold, {always} at every doubling"
    colour = ink("dense")
    mean = [sum(t["fits"]["errors"][i] for t in trials) / len(trials) for i in range(len(widths))]
    lines = [Line(widths, mean, colour, "mean")]
    lines += [Line(widths, t["fits"]["errors"], colour, line=False, marks=True) for t in trials]
    error = Chart(
        lines,
        Axis("hidden units (log)", log=True, ticks=tuple(widths)),
        Axis("root mean squared error between the training points (log)", log=True),
        height=250,
    )
    fits = trials[0]["fits"]
    grid = [-1 + 2 * i / (len(fits["target"]) - 1) for i in range(len(fits["target"]))]
    shown = (widths[0], widths[len(widths) // 2], widths[-1])
    small = [
        Chart(
            [Line(grid, fits["target"], "", dash=True), Line(grid, fits["curves"][str(w)], colour)],
            Axis(low=-1, high=1),
            Axis(low=-1.9, high=1.9),
            height=120,
            title=f"{w} units",
            bare=True,
        )
        for w in shown
    ]
    images = found["images"]
    note = (
        f"Dots: seeds. Below: the function (dashed) and its fits, seed {record['seeds'][0]}. "
        f"XOR {digits3(found['xor']['ours'], '%')}, parity {digits3(found['parity']['ours'], '%')}; "
        f"{images['name'].split(',')[0]} {digits3(images['ours'], '%')} right on the held-out part."
    )
    return draw(answer, note, [error, Row(small)])


CLAIM = Claim(
    name="mlp",
    structure="mlp",
    source="Rumelhart, Hinton & Williams 1986, Nature 323; Cybenko 1989, Math. Control Signals Systems 2",
    says="Back-propagation learns internal representations; one hidden layer, wide enough, approximates any function.",
    paper="XOR and parity learned (p); one hidden layer approximates any continuous function (a theorem)",
    plan=plan,
    trial=trial,
    picture=picture,
)
