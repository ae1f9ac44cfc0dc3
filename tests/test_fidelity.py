"""Measures of samples: against scipy, sums in plain loops and closed forms in few dimensions."""

from __future__ import annotations

from math import log, pi

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.stats import gaussian_kde

from lamina import data
from lamina.core import UserError
from lamina.data import DataSet
from lamina.tasks.fidelity import density_coverage, frechet, nearest, precision_recall, radii
from lamina.tasks.parzen import SIGMAS, log_density, parzen
from lamina.train.features import lenet_features


def normal(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_frechet_is_scipys_square_root_of_the_product():
    a, b = normal(200, 6, 0) @ normal(6, 6, 1), normal(150, 6, 2) @ normal(6, 6, 3) + 1
    c, c2 = (np.cov(x.numpy(), rowvar=False) for x in (a, b))
    want = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c + c2 - 2 * sqrtm(c @ c2).real)
    assert frechet(a, b) == pytest.approx(float(want), rel=1e-9)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)


def test_frechet_of_a_set_with_itself_is_0_and_of_a_shift_its_square():
    x = normal(50, 4, 0)
    assert frechet(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet(x, x + torch.tensor([3.0, 0, 4, 0])) == pytest.approx(25)
    assert frechet(x[:, :1], 3 * x[:, :1]) == pytest.approx(4 * float(x[:, 0].mean() ** 2 + x[:, 0].var()))


def test_frechet_takes_features_that_are_not_independent():
    x = normal(30, 3, 0)
    wide, wide2 = x @ normal(3, 40, 1), 2 * x @ normal(3, 40, 1)  # covariances of rank 3 in 40 dimensions
    want = float(wide.mean(0).square().sum() + torch.cov(wide.T).trace())  # C' = 4 C, m' = 2 m
    assert frechet(wide, wide2) == pytest.approx(want, rel=1e-6)


def loop_radii(x: np.ndarray, k: int) -> list[float]:
    return [sorted(float(np.linalg.norm(a - b)) for j, b in enumerate(x) if j != i)[k - 1] for i, a in enumerate(x)]


def test_precision_recall_density_and_coverage_are_the_counts_of_plain_loops():
    real, made = normal(40, 3, 0), 0.7 * normal(30, 3, 1) + 0.4
    a, b, k = real.numpy(), made.numpy(), 3
    near_real, near_made = loop_radii(a, k), loop_radii(b, k)
    balls = [[np.linalg.norm(y - x) <= r for x, r in zip(a, near_real, strict=True)] for y in b]
    precision = np.mean([any(row) for row in balls])
    recall = np.mean([any(np.linalg.norm(x - y) <= r for y, r in zip(b, near_made, strict=True)) for x in a])
    assert precision_recall(real, made, k) == pytest.approx((precision, recall), abs=1e-6)
    density, coverage = np.sum(balls) / (k * len(b)), np.mean(np.any(balls, axis=0))
    assert density_coverage(real, made, k) == pytest.approx((density, coverage), abs=1e-6)
    assert 0.3 < recall < 1
    assert 0.3 < coverage < 1
    assert radii(real, k).tolist() == pytest.approx(near_real)


def test_rows_are_gone_through_in_parts():
    x, y = normal(2500, 2, 0).float(), normal(30, 2, 1).float()
    whole = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    torch.testing.assert_close(nearest(x, y, 4), whole.sort(1).values[:, 3], rtol=0, atol=1e-5)
    assert precision_recall(y, x)[0] == pytest.approx(precision_recall(y.double(), x.double())[0], abs=2 / 2500)


def test_one_point_again_and_again_has_no_recall_and_covers_next_to_nothing():
    real = normal(200, 4, 0)
    made = real[:1].expand(200, -1)
    assert precision_recall(real, made) == (1.0, pytest.approx(1 / 200))
    density, coverage = density_coverage(real, made)
    assert coverage < 0.1
    assert density > 0


def test_equal_distributions_are_covered_as_the_theory_says():
    """The nearest of n samples is beyond the k-th of n - 1 other real ones where the first k of both are all real."""
    pairs = [density_coverage(normal(500, 2, 2 * i), normal(500, 2, 2 * i + 1)) for i in range(6)]
    assert np.mean([c for _, c in pairs]) == pytest.approx(1 - 0.5**5, abs=0.01)
    assert np.mean([d for d, _ in pairs]) == pytest.approx(1, abs=0.05)


def test_parzen_is_scipys_kernel_density():
    samples, x = normal(60, 2, 0), normal(25, 2, 1)
    # scipy scales its kernel by the samples' covariance: undone by whitening first
    root = torch.linalg.cholesky(torch.cov(samples.T))
    flat = torch.linalg.solve_triangular(root, samples.T, upper=False).T
    at = torch.linalg.solve_triangular(root, x.T, upper=False).T
    want = gaussian_kde(flat.numpy().T, bw_method=0.4).logpdf(at.numpy().T)
    torch.testing.assert_close(log_density(flat, at, [0.4])[0], torch.from_numpy(want), rtol=0, atol=1e-9)


def test_parzen_of_one_sample_is_its_gaussian_and_survives_where_densities_underflow():
    image = torch.zeros(1, 1, 28, 28)
    got = log_density(image, image + 1, [0.1, 0.2])[:, 0]
    want = [-784 / (2 * s * s) - 392 * log(2 * pi * s * s) for s in (0.1, 0.2)]
    assert got.tolist() == pytest.approx(want, rel=1e-9)


def test_the_width_is_chosen_on_dev_alone_and_the_error_is_of_the_mean():
    samples, dev, test = 0.3 * normal(400, 2, 0), 0.3 * normal(300, 2, 1), 0.3 * normal(300, 2, 2)
    found = parzen(samples, dev, test)
    on_dev = {s: float(log_density(samples, dev, [s]).mean()) for s in SIGMAS}
    assert found.sigma == max(on_dev, key=on_dev.__getitem__)
    assert SIGMAS[0] < found.sigma < SIGMAS[-1]
    of_test = log_density(samples, test, [found.sigma])[0]
    assert found.mean == pytest.approx(float(of_test.mean()))
    assert found.error == pytest.approx(float(of_test.std() / 300**0.5))
    # the samples' own density is what the estimate comes near to: its entropy is known
    assert found.mean == pytest.approx(-log(2 * pi * np.e * 0.09), abs=0.15)
    assert parzen(samples, test, dev).mean != found.mean


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: frechet(torch.ones(1, 3), torch.ones(5, 3)), "real: 1 is too few; give at least 2"),
        (lambda: precision_recall(torch.ones(9, 3), torch.ones(3, 3)), "samples: 3 is too few; give at least 4"),
        (lambda: density_coverage(torch.ones(5, 3), torch.ones(3, 3)), "real: 5 is too few; give at least 6"),
        (lambda: nearest(torch.ones(5, 3), torch.ones(0, 3)), "others: 0 is too few; give at least 1"),
        (lambda: log_density(torch.ones(2, 1, 8, 8), torch.ones(2, 1, 9, 9), [1.0]), "give rows of one shape"),
        (lambda: parzen(torch.ones(2, 4), torch.ones(2, 4), torch.ones(2, 4), []), "sigmas: none given"),
    ],
)
def test_too_little_is_refused_in_one_line(call, words):
    with pytest.raises(UserError, match=words) as error:
        call()
    assert "\n" not in str(error.value)


# the features that images are compared by -----------------------------------------------------------------------------


def test_lenet_features_are_the_trained_networks_and_learned_once(monkeypatch):
    digits = data.load("digits")
    few = digits.train.part(torch.arange(300))
    small = DataSet("small", "image", "classify", few, digits.dev, digits.test, "made here", n_classes=10)
    features = lenet_features(small)
    found = features(digits.test.x)
    assert found.shape == (len(digits.test), 84)
    assert found.min() == 0  # rectified
    monkeypatch.setattr("lamina.train.features.fit", lambda *_: pytest.fail("learned twice"))
    assert torch.equal(lenet_features(small)(digits.test.x[:600]), found)
    # digits of one class lie together: the nearest other image is of the same class
    far = torch.cdist(found, found).fill_diagonal_(float("inf"))
    assert (digits.test.y[far.argmin(1)] == digits.test.y).float().mean() > 0.85
