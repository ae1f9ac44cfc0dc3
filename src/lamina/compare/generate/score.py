"""How lifelike samples are, beside images that nobody has learned from."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter

from torch import Tensor

from lamina.data import DataSet
from lamina.tasks.fidelity import density_coverage, frechet, precision_recall
from lamina.tasks.parzen import parzen

__all__ = ["COLUMNS", "MOST", "TITLES", "score"]

MOST = 1000  # samples, and test images, at most; as many of the one as of the other
BATCH = 64  # samples at once when they are timed
# key, title, which way is better
COLUMNS = (
    ("frechet", "Frechet distance on LeNet features", "lower"),
    ("precision", "Precision", "higher"),
    ("recall", "Recall", "higher"),
    ("coverage", "Coverage", "higher"),
    ("parzen", "Parzen log-likelihood, nats", "higher"),
    ("ms", "A sample, ms", "lower"),
)
TITLES = {key: title for key, title, _ in COLUMNS}


def score(
    sample: Callable[[int, int], Tensor], features: Callable[[Tensor], Tensor], dataset: DataSet, seed: int
) -> dict[str, float]:
    """The measures of COLUMNS, of as many fresh samples as there are test images, MOST at most."""
    real = dataset.test.x[:MOST]
    made = sample(len(real), seed)
    a, b = features(real), features(made)
    precision, recall = precision_recall(a, b)
    windows = parzen(made, dataset.dev.x[:MOST], real)
    return {
        "frechet": frechet(a, b), "precision": precision, "recall": recall, "coverage": density_coverage(a, b)[1],
        "parzen": windows.mean, "parzen_error": windows.error, "sigma": windows.sigma, "ms": _milliseconds(sample),
    }  # fmt: skip


def _milliseconds(sample: Callable[[int, int], Tensor]) -> float:
    """Of one sample among BATCH, the median of three."""
    times = []
    for seed in range(3):
        began = perf_counter()
        sample(BATCH, seed)
        times.append((perf_counter() - began) / BATCH)
    return 1e3 * median(times)
