"""What claims of generators share: the Gaussian to beat, and the measures of samples beside the held-out part."""

from __future__ import annotations

from torch import Tensor

from lamina.compare.generate.gaussian import Gaussian
from lamina.data import DataSet
from lamina.data.png import png, tiled
from lamina.tasks.fidelity import density_coverage, frechet, precision_recall
from lamina.tasks.parzen import parzen
from lamina.train.features import lenet_features

__all__ = ["SIDE", "gaussian", "grid", "measured"]

SIDE = 6  # images a side of what is shown
WIDTHS = 1000  # images of the dev part that the width of Parzen windows is chosen on


def gaussian(dataset: DataSet, n: int, seed: int) -> Tensor:
    """n images of a Gaussian with the mean and covariance of the training images, cut to 0..1."""
    return Gaussian(dataset).sample(n, seed)


def measured(dataset: DataSet, made: Tensor, features: Tensor) -> dict[str, float]:
    """What samples are worth beside the held-out part, by name; features [n,F] are theirs."""
    real = lenet_features(dataset)(dataset.test.x)
    windows = parzen(made, dataset.dev.x[:WIDTHS], dataset.test.x)
    precision, recall = precision_recall(real, features[: len(real)])
    return {
        "frechet": frechet(real, features),
        "parzen": windows.mean,
        "parzen_error": windows.error,
        "sigma": windows.sigma,
        "coverage": 100 * density_coverage(real, features[: len(real)])[1],
        "precision": 100 * precision,
        "recall": 100 * recall,
    }


def grid(images: Tensor) -> str:
    """The first SIDE x SIDE images of a set [N,C,H,W], for a picture."""
    return png(tiled(images[: SIDE * SIDE], SIDE, 0.4))
