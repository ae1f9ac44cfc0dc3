"""GAN: a game of two networks makes digits that are new (Goodfellow et al. 2014)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from lamina import data
from lamina.reproduce.claim import Claim, Figure, Plan, Tell, Tier, digits3
from lamina.reproduce.learn import learn
from lamina.reproduce.picture import Axis, Dots, Picture, Row, draw, ink
from lamina.reproduce.samples import SIDE, gaussian, grid, measured
from lamina.tasks import Adversarial
from lamina.tasks.fidelity import frechet
from lamina.train import Order
from lamina.train.features import lenet_features

__all__ = ["CLAIM"]

PAPER = 225.0  # nats on MNIST's test images, +/- 2


def plan(tier: Tier) -> Plan:
    full = tier == "full"
    settings: dict[str, Any] = {
        "data": "mnist" if full else "digits",
        "keys": {"channels": 64, "d_noise": 32 if full else 16},
        "steps": 24000 if full else 3000,
        "batch_size": 128,
        "lr": 1e-3 if full else 2e-3,
        "ema": 0.999 if full else 0.995,
        "samples": 10000,
    }
    ratio = Figure("less", "Frechet distance on LeNet features, as a share of a Gaussian's", below=1.0)
    paper = f"{PAPER:g} ± 2 nats on MNIST's test part (p)" if full else None
    likely = Figure(
        "parzen", "Parzen-window log-likelihood of the held-out part", "nats", paper, 200.0 if full else None
    )
    figures = (
        *((likely, ratio) if full else (ratio, likely)),
        Figure("parzen_error", "its standard error", "nats"),
        Figure("frechet", "Frechet distance on LeNet features: generated"),
        Figure("frechet_gaussian", "Frechet distance on LeNet features: a Gaussian's samples"),
        Figure("frechet_real", "Frechet distance on LeNet features: training images"),
        Figure("parzen_gaussian", "Parzen-window log-likelihood under a Gaussian's samples", "nats"),
        Figure("coverage", "held-out images with a generated one near (of training images: about 97 %)", "%"),
        Figure("precision", "generated images near a held-out one", "%"),
        Figure("recall", "held-out images near a generated one", "%"),
        Figure("weights", "weights of both networks"),
    )
    note = (
        f"{settings['steps']:,} updates, every second one the generator's, non-saturating loss, the average of the "
        "weights. The Gaussian has the mean and covariance of the training images, its samples are cut to 0..1. "
        "Windows stand on 10,000 samples, their width is chosen on the dev part. Coverage (fifth neighbour), precision "
        "and recall (third) are of LeNet features, of as many samples as there are held-out images. "
    )
    if full:
        note += (
            "A small convolutional pair in place of 2014's perceptrons, which had come less far after as many updates. "
            "5,001 of MNIST's images are held out."
        )
    else:
        note += (
            "scikit-learn's 8x8 digits and a small convolutional pair; the full tier asks MNIST for 200 nats as well."
        )
    return Plan((0, 1, 2) if full else (0,), settings, figures, note)


def trial(settings: dict[str, Any], seed: int, folder: Path, tell: Tell) -> dict[str, Any]:
    """One seed: training, then all measures of the held-out part, of the generator and of the Gaussian alike."""
    dataset = data.load(settings["data"])
    order = Order(
        "gan", settings["keys"], settings["data"], settings["steps"], settings["lr"], seed, settings["batch_size"],
        ema=settings["ema"],
    )  # fmt: skip
    learned = learn(order, [settings["lr"]], dataset, folder / "gan", tell)
    facts = learned.facts() | {"notes": learned.history.notes}
    if learned.history.diverged:
        return {"figures": {}, "learned": facts, "data": dataset.describe()}
    task = cast(Adversarial, getattr(learned.task, "alone", learned.task))
    n = settings["samples"]
    made, flat = task.sample(n, seed=seed), gaussian(dataset, n, seed)
    features = lenet_features(dataset)
    real = frechet(features(dataset.test.x), features(dataset.train.x))
    of = measured(dataset, made, features(made)), measured(dataset, flat, features(flat))
    figures = {
        **of[0],
        "less": of[0]["frechet"] / of[1]["frechet"],
        "frechet_gaussian": of[1]["frechet"],
        "parzen_gaussian": of[1]["parzen"],
        "frechet_real": real,
        "weights": facts["weights"],
    }
    shown = {"real": dataset.train.x, "gan": made, "gaussian": flat}
    return {
        "figures": figures,
        "gaussian": of[1],
        "learned": facts,
        "shown": {name: grid(images) for name, images in shown.items()},
        "across": SIDE * dataset.shape[-1] + SIDE - 1,
        "data": dataset.describe(),
    }


def picture(record: dict[str, Any], trials: list[dict[str, Any]]) -> str:
    by = {figure["key"]: figure for figure in record["figures"]}
    what = {"mnist": "MNIST's digits", "digits": "8x8 digits"}[record["settings"]["data"]]
    whole = [t for t in trials if t.get("shown")]
    if not whole:
        return draw(f"Training diverged in all of {len(trials)} seeds", record["note"], [])
    own, plain = by["frechet"]["ours"], by["frechet_gaussian"]["ours"]
    nearer = "nearer to" if by["less"]["met"] else "no nearer to"
    answer = (
        f"A GAN's {what} come {nearer} real ones than a Gaussian's: Frechet {digits3(own)} against {digits3(plain)}"
    )
    first = whole[0]
    size = first["across"]
    names = {"real": "real", "gan": "made by the GAN", "gaussian": "a Gaussian's"}
    images = Row([Picture(first["shown"][key], words, size, size) for key, words in names.items()])
    floor = [s for s in by["frechet_real"]["scores"] if s is not None]
    scores = {key: [s for s in by[key]["scores"] if s is not None] for key in by}
    axis = Axis("Frechet distance on LeNet features to held-out images (log)", log=True)
    rows = (
        ("training images", floor, "var(--ink)"),
        ("GAN", scores["frechet"], ink("generative")),
        ("Gaussian", scores["frechet_gaussian"], ink("other")),
    )
    nats, covered = by["parzen"], by["coverage"]
    beside = f" (paper {PAPER:g}, (p))" if record["settings"]["data"] == "mnist" else ""
    note = (
        f"{'One seed' if len(trials) == 1 else f'{len(trials)} seeds'}. The first images of each set, none chosen. "
        f"{digits3(covered['ours'])} % of the held-out images have a generated one near, of about 97 % that training "
        f"images would have. Parzen windows: {digits3(nats['ours'])} nats{beside}, around the Gaussian's samples "
        f"{digits3(by['parzen_gaussian']['ours'])}. The features are those of the project's own LeNet: no FID."
    )
    return draw(answer, note, [images, Dots(rows, axis)])


CLAIM = Claim(
    name="gan",
    structure="gan",
    source="Goodfellow et al. 2014, arXiv:1406.2661",
    says="A generator and a discriminator that play against each other make new images without any likelihood.",
    paper="MNIST: 225 ± 2 nats by Parzen windows; DBN 138, stacked CAE 121, deep GSN 214 (p)",
    plan=plan,
    trial=trial,
    picture=picture,
)
