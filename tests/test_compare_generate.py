"""The comparison of generators: its plan, its parts against what is known of them, its page and its errors."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lamina import data
from lamina.cli import main
from lamina.compare.generate import Settings, compare_generators, engine, flat, makers
from lamina.compare.generate.engine import verdict
from lamina.core import UserError
from lamina.data.png import png, tiled

NAMES = ("gaussian", "genetic", "gan", "ddpm")


@pytest.fixture(scope="module")
def digits() -> data.DataSet:
    return data.load("digits")


def _run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


# the plane ------------------------------------------------------------------------------------------------------------


def test_the_exact_denoiser_is_the_mean_of_what_was_noised():
    generator = torch.Generator().manual_seed(0)
    n, kept = 400_000, 0.8
    centres = torch.tensor(flat.CENTRES, dtype=torch.float64)
    x0 = centres[torch.randint(8, (n,), generator=generator)]
    x0 = x0 + flat.WIDTH * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    at = torch.tensor([[1.2, 0.9], [0.0, 0.3], [-1.6, -1.0]], dtype=torch.float64)
    share = (-torch.cdist(at, kept**0.5 * x0).square() / (2 * (1 - kept))).softmax(1)  # how likely each is the origin
    torch.testing.assert_close(flat.denoised(at, kept), share @ x0, rtol=0, atol=0.02)


def test_noise_ends_in_all_clusters_and_the_population_in_likely_places():
    found = flat.both()
    assert len(found["diffusion"]) == len(found["genetic"]) == len(found["worse"]) == flat.FRAMES
    centres = torch.tensor(found["centres"])
    last = torch.cdist(torch.tensor(found["diffusion"][-1]), centres)
    assert (last.min(1).values < 4 * flat.WIDTH).float().mean() > 0.98
    assert last.argmin(1).bincount(minlength=8).min() >= flat.POINTS / 8 / 2
    course = [float(flat.log_p(torch.tensor(frame)).median()) for frame in found["genetic"]]
    assert course[-1] > course[0] + 10


def test_log_p_is_a_density():
    line = torch.linspace(-4, 4, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    assert float(flat.log_p(grid).exp().sum() * 0.02**2) == pytest.approx(1, abs=1e-3)


# the makers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["genetic", "gan", "ddpm"])
def test_each_is_sized_to_the_weights(digits, name):
    keys = makers.MAKERS[name].size(digits, 60_000)
    made = makers.MAKERS[name].learn(digits, keys, 1, 0, lambda *_: None)
    assert made.weights == pytest.approx(60_000, rel=0.02)
    images = made.sample(3, 5)
    assert images.shape == (3, 1, 8, 8)
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    assert torch.equal(images, made.sample(3, 5))


def test_the_gaussian_has_the_moments_of_the_images(digits):
    made = makers.MAKERS["gaussian"].learn(digits, {}, 0, 0, lambda *_: None)
    x, real = made.sample(20_000, 0).flatten(1), digits.train.x.flatten(1)
    inside = (real.mean(0) > 0.3) & (real.mean(0) < 0.7)  # pixels that the edges of 0..1 hardly touch
    assert float((x.mean(0) - real.mean(0))[inside].abs().max()) < 0.03
    assert made.weights == 64 + 64 * 65 // 2


def test_a_population_climbs(digits):
    fitness = makers._fitness(digits)
    made = makers.MAKERS["genetic"].learn(digits, {"population": 40}, 15, 0, lambda *_: None)
    start = torch.rand(40, 64, dtype=torch.float64)
    assert float(fitness(made.sample(40, 0).flatten(1)).mean()) > float(fitness(start).mean()) + 5


# pictures and words ---------------------------------------------------------------------------------------------------


def test_a_png_is_read_by_others_as_it_was_meant():
    from PIL import Image

    images = torch.rand(10, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    for channels in (1, 3):
        text = png(tiled(images[:, :channels], 8, 0.5))
        read = Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2])))
        assert (read.size, read.mode) == ((8 * 6 - 1, 2 * 5 - 1), "L" if channels == 1 else "RGB")
        pixels = torch.from_numpy(np.array(read)).long().reshape(9, 47, channels)
        want = (images[9, :channels] * 255).round().movedim(0, -1).long()  # the second row's second
        assert torch.equal(pixels[5:9, 6:11], want)


@pytest.mark.parametrize(
    ("first", "second", "best"), [([1.0, 2.0], [3.0, 4.0], "a"), ([1.0, 3.5], [3.0, 4.0], None), ([1.0], [3.0], None)]
)
def test_the_best_is_named_where_every_seed_is_ahead(digits, first, second, best):
    rows = [
        {"model": name, "frechet": sum(seeds) / len(seeds), "frechet_seeds": seeds}
        for name, seeds in (("a", first), ("b", second), ("c", [1234.5] * len(first)))
    ]
    text, found = verdict(rows, Settings(seeds=len(first)), 41.26, digits)
    assert found == best
    assert text.startswith("At 60,000 weights and 41.3 s of learning each, a ")
    assert ("cannot be told apart" in text) is (best is None and len(first) > 1)
    assert ("one seed cannot tell" in text) is (len(first) == 1)
    assert text.endswith("Behind: c (1,230).")


# the whole ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    """Everybody learns for some twenty steps, whatever the machine."""
    paces = {name: (lambda *_: 1.0) if name != "gaussian" else (lambda *_: 0.0) for name in NAMES}
    found = {name: replace(makers.MAKERS[name], pace=paces[name]) for name in NAMES}
    monkeypatch.setattr(engine, "MAKERS", found)
    monkeypatch.setattr(engine, "AFTER", {"digits": 0.0})
    monkeypatch.setattr(makers, "SAMPLED", 2)
    return Settings("digits", 20_000, minutes=21 / 60 / engine.SHARE * 3 * 2, seeds=2)


def test_a_run_is_whole_resumes_and_refuses_another(quick, tmp_path: Path, monkeypatch):
    said: list[str] = []
    results = compare_generators(quick, tmp_path / "run", stage=lambda words, *_: said.append(words))
    assert {row["model"] for row in results["rows"]} == set(NAMES)
    assert [row["frechet"] for row in results["rows"]] == sorted(row["frechet"] for row in results["rows"])
    assert {t["steps"] for t in results["trials"] if t["maker"] != "gaussian"} == {21}
    assert len(results["trials"]) == 8
    assert {"gan, seed 1", "the report"} <= set(said)
    for row in results["rows"]:
        assert row["frechet"] > 0
        assert 0 <= row["precision"] <= 1 >= row["coverage"] >= 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert page.count('<img src="data:image/png;base64,') == 5
    head = page.partition("<script")[0]
    assert not re.search(r'(?:src|href)="(?!data:|#)[^"]+"', head)  # nothing from outside
    moving = json.loads(re.search(r'id="report-data">(.*?)</script>', page, re.S)[1])["moving"]
    assert len(moving["diffusion"]) == flat.FRAMES
    assert (tmp_path / "run" / "results.csv").read_text().startswith("model,frechet,frechet_sd,precision")

    (tmp_path / "run" / "trials" / "gan-1.json").unlink()
    monkeypatch.setattr(makers, "_gaussian", None)  # what is there is not made again
    again = compare_generators(quick, tmp_path / "run")
    pairs = zip(results["trials"], again["trials"], strict=True)
    keep = ("frechet", "precision", "recall", "coverage", "parzen")
    assert all(a["scores"][key] == b["scores"][key] for a, b in pairs for key in keep)
    with pytest.raises(UserError, match=r"holds another comparison \(seeds 2, here 3\)"):
        compare_generators(replace(quick, seeds=3), tmp_path / "run")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["minst"], "unknown data set to make images like 'minst'; did you mean 'mnist'"),
        (["digits", "mnist"], "'mnist': one data set at a time"),
        (["digits", "--models", "lstm"], "takes --params, --minutes, --seeds, --out, --fresh and --json"),
        (["digits", "--minutes", "0"], "--minutes must be above 0"),
        (["digits", "--seeds", "0"], "--seeds must be above 0"),
    ],
)
def test_what_cannot_be_asked_is_one_line(words, said, capsys, tmp_path):
    assert _run("compare", "generate", *words, "--out", str(tmp_path / "x")) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) <= 3
    assert not (tmp_path / "x").exists()


def test_too_few_minutes_are_said_before_anything_learns(quick, tmp_path):
    with pytest.raises(UserError, match="give more minutes or fewer --seeds"):
        compare_generators(replace(quick, minutes=0.5), tmp_path / "run")


def test_a_second_word_is_for_generate_alone(capsys):
    assert _run("compare", "digits", "mnist") == 2
    assert "'mnist': one data set at a time" in capsys.readouterr().err
