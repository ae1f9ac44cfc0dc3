"""The claim of the GAN: its experiment at a size of seconds, the Gaussian to beat, the pictures in its picture."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from claim_parts import drawn, quiet
from lamina import data
from lamina.data.png import png, tiled
from lamina.reproduce import CLAIMS, samples
from lamina.reproduce.picture import Picture, draw
from lamina.reproduce.samples import SIDE, gaussian, grid, measured

SETTINGS = {
    "data": "digits", "keys": {"channels": 4, "d_noise": 4}, "steps": 20, "batch_size": 16, "lr": 1e-3, "ema": 0.9,
    "samples": 400,
}  # fmt: skip


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve fixed features in place of a trained LeNet's."""
    weights = torch.randn(64, 12, generator=torch.Generator().manual_seed(0))
    for module in ("gan", "samples"):
        monkeypatch.setattr(
            f"lamina.reproduce.{module}.lenet_features", lambda dataset: lambda x: (x.flatten(1) @ weights).relu()
        )


def test_the_experiment_at_a_small_size(tmp_path: Path) -> None:
    claim = CLAIMS["gan"]
    found = claim.trial(SETTINGS, 5, tmp_path, quiet)
    assert set(found["figures"]) >= {figure.key for figure in claim.plan("ci").figures}
    assert found["figures"]["less"] == found["figures"]["frechet"] / found["figures"]["frechet_gaussian"]
    assert found["figures"]["less"] > 1  # it has hardly begun
    assert found["figures"]["frechet_real"] < found["figures"]["frechet_gaussian"]
    assert 0 <= found["figures"]["coverage"] <= 100
    drawn(claim, SETTINGS, found)
    drawn(claim, SETTINGS, {"figures": {}, "learned": {}})  # diverged
    again = claim.trial(SETTINGS, 5, tmp_path / "again", quiet)
    assert again["figures"] == found["figures"]


def test_its_rules_are_those_of_the_claims() -> None:
    full, ci = ({f.key: f.accept for f in CLAIMS["gan"].plan(tier).figures} for tier in ("full", "ci"))
    assert (full["parzen"], full["less"]) == (">= 200 nats", "< 1")
    assert (ci["parzen"], ci["less"]) == (None, "< 1")


def test_the_gaussian_has_the_training_images_mean_and_covariance() -> None:
    digits = data.load("digits")
    made = gaussian(digits, 20_000, 3)
    assert made.shape == (20_000, 1, 8, 8)
    assert 0 <= made.min() < made.max() <= 1
    assert torch.equal(made, gaussian(digits, 20_000, 3))
    inner = (slice(None), 0, 3, 4)  # seldom cut, unlike the border's pixels
    want, got = digits.train.x[inner], made[inner]
    assert got.mean() == pytest.approx(float(want.mean()), abs=0.03)
    x, y = digits.train.x[:, 0, 2:6, 3].T, made[:, 0, 2:6, 3].T
    np.testing.assert_allclose(torch.corrcoef(y).numpy(), torch.corrcoef(x).numpy(), atol=0.08)


def test_measures_of_the_real_images_are_better_than_the_gaussians() -> None:
    digits = data.load("digits")
    flat = gaussian(digits, len(digits.train), 0)
    features = samples.lenet_features(digits)
    real, plain = (measured(digits, x, features(x)) for x in (digits.train.x, flat))
    for key, more in (("frechet", -1), ("parzen", 1), ("coverage", 1), ("precision", 1)):
        assert more * (real[key] - plain[key]) > 0, key
    assert real["coverage"] > 90


def test_a_picture_holds_the_pixels_themselves() -> None:
    uri = png(torch.tensor([[[0.0, 0.25, 0.5], [0.75, 1.0, 2.0]]]))
    seen = np.asarray(Image.open(BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))))
    assert seen.tolist() == [[0, 64, 128], [191, 255, 255]]
    svg = draw("Three across", "", [Picture(uri, "six", 3, 2)])
    ElementTree.fromstring(svg)
    assert re.search(r'width="168.0" height="112.0" style="image-rendering:pixelated"', svg)


def test_the_grid_stands_row_by_row() -> None:
    images = torch.arange(SIDE * SIDE + 3).float()[:, None, None, None].expand(-1, 1, 2, 2) / 100
    found = tiled(images[: SIDE * SIDE], SIDE, 0.4)[0]
    assert grid(images) == png(found[None])
    assert found.shape == (3 * SIDE - 1, 3 * SIDE - 1)
    assert found[::3, ::3].flatten().tolist() == pytest.approx([i / 100 for i in range(SIDE * SIDE)])
    assert found[2].tolist() == pytest.approx([0.4] * (3 * SIDE - 1))
