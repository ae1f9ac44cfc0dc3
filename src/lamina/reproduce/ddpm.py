"""DDPM: images from noise in many small steps, by a network that tells the noise (Ho, Jain & Abbeel 2020)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch

from lamina import data
from lamina.data import DataSet
from lamina.reproduce.claim import Claim, Figure, Plan, Tell, Tier, digits3
from lamina.reproduce.learn import Learned, learn
from lamina.reproduce.picture import Axis, Dots, Picture, Row, draw, ink
from lamina.reproduce.samples import SIDE, gaussian, grid
from lamina.tasks.fidelity import frechet
from lamina.train import Order
from lamina.train.features import lenet_features

__all__ = ["CLAIM"]

NAMES = {"real": "training images", "ddpm": "DDPM", "x0": "DDPM that tells x0", "gan": "GAN", "gaussian": "a Gaussian"}


def plan(tier: Tier) -> Plan:
    full = tier == "full"
    keys = {"prediction": "epsilon", "noise_steps": 200}
    net = {"channels": [8, 16, 32]} if full else {"channels": [16, 32], "attention_mid": False}
    settings: dict[str, Any] = {
        "data": "mnist" if full else "digits",
        "keys": {**net, "attention": [], **keys},
        "batch_size": 32 if full else 64,
        "lr": 2e-3,
        "ema": 0.995,
        "samples": 1000,
        "sampling_steps": None if full else 50,  # None: all of T, ancestral, as the paper samples
    }
    # the GAN as in its own claim; updates that take ten minutes each, 88 and 55 ms, on a quiet core of an AMD EPYC
    rival = {"keys": {"channels": 64, "d_noise": 32}, "steps": 11_000, "batch_size": 128, "lr": 1e-3, "ema": 0.999}
    settings |= {"steps": 6800, "gan": rival} if full else {"steps": 1000}
    ratio = Figure("less", "Frechet distance on LeNet features, as a share of a Gaussian's", below=1.0)
    named = {name: Figure(f"frechet_{name}", f"Frechet distance: {words}") for name, words in NAMES.items()}
    figures: tuple[Figure, ...] = (ratio, named["ddpm"], named["gaussian"], named["real"])
    if full:
        paper = "CIFAR-10: FID 3.17 (p)"
        figures = (
            Figure("less_gan", "Frechet distance on LeNet features, as a share of the GAN's", "", paper, below=1.0),
            Figure("less_x0", "the same, as a share of that of a network that tells x0", "", None, below=1.0),
            *figures, named["x0"], named["gan"],
        )  # fmt: skip
    figures = (*figures, Figure("weights", "weights of the U-Net"), Figure("minutes", "training", "min"))
    how = "ancestral" if full else f"by DDIM in {settings['sampling_steps']} steps"
    note = (
        f"T = {keys['noise_steps']}, linear betas, the simple loss, the average of the weights; "
        f"{settings['samples']:,} samples, {how}, against the held-out part. "
        "The Gaussian has the mean and covariance of the training images, its samples are cut to 0..1. The features "
        "are those of the project's own LeNet: no FID. "
    )
    if full:
        note += (
            f"{settings['steps']:,} updates of each U-Net and {rival['steps']:,} of the GAN: ten minutes of one quiet "
            "core for each of the three networks."
        )
    else:
        note += (
            f"scikit-learn's 8x8 digits, {settings['steps']:,} updates; accepted where it beats the Gaussian. The full "
            "tier asks MNIST for less than the GAN's at equal minutes, and for less than x0's."
        )
    return Plan((0, 1, 2) if full else (0,), settings, figures, note)


def trial(settings: dict[str, Any], seed: int, folder: Path, tell: Tell) -> dict[str, Any]:
    """One seed: each network trained, then its samples' distance to the held-out part, once."""
    dataset, n = data.load(settings["data"]), settings["samples"]
    learned = {"ddpm": _learned("ddpm", settings, settings["keys"], dataset, seed, folder / "ddpm", tell)}
    if "gan" in settings:
        keys = settings["keys"] | {"prediction": "x0"}
        learned["x0"] = _learned("ddpm", settings, keys, dataset, seed, folder / "x0", tell)
        rival = settings["gan"]
        learned["gan"] = _learned("gan", rival, rival["keys"], dataset, seed, folder / "gan", tell)
    facts = {name: one.facts() for name, one in learned.items()}
    if any(one.history.diverged for one in learned.values()):
        return {"figures": {}, "learned": facts, "data": dataset.describe()}
    shown = {"real": _some(dataset, n, seed), "gaussian": gaussian(dataset, n, seed)}
    for name, one in learned.items():
        task = cast(Any, getattr(one.task, "alone", one.task))
        steps = {} if name == "gan" else {"steps": settings["sampling_steps"]}
        shown[name] = task.sample(n, seed=seed, **steps)
    features = lenet_features(dataset)
    held = features(dataset.test.x)
    figures = {f"frechet_{name}": frechet(held, features(images)) for name, images in shown.items()}
    own = figures["frechet_ddpm"]
    others = {"less": "gaussian", "less_gan": "gan", "less_x0": "x0"}
    figures |= {key: own / figures[f"frechet_{name}"] for key, name in others.items() if name in shown}
    figures |= {"weights": facts["ddpm"]["weights"], "minutes": facts["ddpm"]["seconds"] / 60}
    return {
        "figures": figures,
        "learned": facts,
        "shown": {name: grid(images) for name, images in shown.items()},
        "across": SIDE * dataset.shape[-1] + SIDE - 1,
        "data": dataset.describe(),
    }


def _learned(
    name: str, settings: dict[str, Any], keys: dict[str, Any], dataset: DataSet, seed: int, folder: Path, tell: Tell
) -> Learned:
    order = Order(
        name, keys, dataset.name, settings["steps"], settings["lr"], seed, settings["batch_size"], ema=settings["ema"]
    )
    return learn(order, [order.lr], dataset, folder, tell, scored=4)


def _some(dataset: DataSet, n: int, seed: int) -> torch.Tensor:
    """n training images at random."""
    return dataset.train.x[torch.randperm(len(dataset.train), generator=torch.Generator().manual_seed(seed))[:n]]


def picture(record: dict[str, Any], trials: list[dict[str, Any]]) -> str:
    by = {figure["key"]: figure for figure in record["figures"]}
    whole = [t for t in trials if t.get("shown")]
    if not whole:
        return draw(f"Training diverged in all of {len(trials)} seeds", record["note"], [])
    what = {"mnist": "MNIST's digits", "digits": "8x8 digits"}[record["settings"]["data"]]
    rival, words = ("gan", "the GAN's at equal minutes") if "less_gan" in by else ("gaussian", "a Gaussian's")
    nearer = "nearer to" if by["less_gan" if rival == "gan" else "less"]["met"] else "no nearer to"
    own, other = (digits3(by[f"frechet_{name}"]["ours"]) for name in ("ddpm", rival))
    answer = f"DDPM's {what} come {nearer} real ones than {words}: Frechet {own} against {other}"
    first = whole[0]
    images = [
        Picture(first["shown"][name], words, first["across"], first["across"])
        for name, words in {"real": "real", "ddpm": "from noise by DDPM", rival: NAMES[rival]}.items()
    ]
    inks = {"real": "var(--ink)", "gaussian": ink("other")}
    rows = []
    for name, words in NAMES.items():
        if (figure := by.get(f"frechet_{name}")) is not None:
            scores = [s for s in figure["scores"] if s is not None]
            rows.append((words, scores, inks.get(name, ink("generative"))))
    axis = Axis("Frechet distance on LeNet features to held-out images (log)", log=True)
    seeds = "One seed" if len(trials) == 1 else f"{len(trials)} seeds"
    note = f"{seeds}. The first images of each set, none chosen. {record['note']}"
    return draw(answer, note, [Row(images), Dots(rows, axis)])


CLAIM = Claim(
    name="ddpm",
    structure="ddpm",
    source="Ho, Jain & Abbeel 2020, arXiv:2006.11239",
    says="A network that tells the noise in an image at any scale makes new images of noise, step by step.",
    paper="CIFAR-10: FID 3.17, Inception score 9.46; the simple loss and the prediction of noise are best (p)",
    plan=plan,
    trial=trial,
    picture=picture,
)
