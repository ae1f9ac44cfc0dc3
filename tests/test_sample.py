"""lamina sample: what it writes, that it writes nothing by halves, and one line for what cannot be sampled."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from denoise_parts import frames, images
from lamina import data
from lamina.cli import _run
from lamina.core import UserError
from lamina.data import DataSet
from lamina.data.named import parse, spell
from lamina.data.picture import GAP, grid, spectra, write_gif, write_png
from lamina.train import Order, train_run

MIXED = np.empty(2, object)  # images of mixed sizes
MIXED[:] = [np.zeros((1, 8, 8)), np.zeros((1, 9, 10))]
TINY = {"channels": [8, 16], "attention": [], "attention_mid": False, "noise_steps": 12, "n_classes": 3}


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    status = _run([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[str, Path]:
    """A run of pixels, one of frames, and one that answers."""
    folder = tmp_path_factory.mktemp("runs")
    mels = frames(shape=(8, 20))
    sets = {"small": images(shape=(1, 8, 8)), "mels": DataSet(**{**vars(mels), "rate": 8000})}
    before = dict(data.DATA)
    data.DATA.update({name: lambda found=found: found for name, found in sets.items()})
    orders = {
        "pixels": Order("ddpm", TINY, "small", steps=4, batch_size=8),
        "frames": Order("lstm", {"d_model": 8, "n_layers": 1, "noise_steps": 12}, "mels", steps=4, batch_size=8),
        "answers": Order("mlp", {"d_model": 8}, "small", steps=2, batch_size=8),
    }
    for name, order in orders.items():
        train_run(order, sets[order.data], folder / name)
    yield {name: folder / name for name in orders}
    data.DATA.clear()
    data.DATA.update(before)


def test_a_grid_of_images(trained, capsys, tmp_path):
    out = tmp_path / "grid.png"
    status, said, _ = run(capsys, "sample", trained["pixels"], "--n", 10, "--out", out, "--json")
    facts = json.loads(said)
    assert status == 0
    assert facts["ms_per_sample"] == pytest.approx(1e3 * facts["seconds"] / 10, rel=1e-2)
    assert {k: facts[k] for k in ("n", "seed", "model", "out")} == {
        "n": 10,
        "seed": 0,
        "model": "ddpm",
        "out": str(out),
    }
    with Image.open(out) as image:
        assert image.size == (4 * (96 + GAP) + GAP, 3 * (96 + GAP) + GAP)  # 8 pixels as 96; 10 images in 4 columns
    assert sorted(p.name for p in tmp_path.iterdir()) == ["grid.png"]
    before = out.read_bytes()
    run(capsys, "sample", trained["pixels"], "--n", 10, "--out", out)
    assert out.read_bytes() == before
    run(capsys, "sample", trained["pixels"], "--n", 10, "--out", out, "--seed", 1)
    assert out.read_bytes() != before


def test_its_picture_lies_in_the_run_by_default(trained, capsys):
    status, said, _ = run(capsys, "sample", trained["pixels"], "--n", 1, "--steps", 3)
    assert status == 0
    assert said.startswith("ddpm: 1 samples in ")
    assert (trained["pixels"] / "samples.png").is_file()


def test_a_film_shows_noise_first_and_the_samples_last(trained, capsys, tmp_path):
    film, out = tmp_path / "film.gif", tmp_path / "grid.png"
    arguments = ("--n", 4, "--out", out, "--trajectory", film, "--steps", 6, "--classes", "2,0", "--guidance", 1)
    status, said, _ = run(capsys, "sample", trained["pixels"], *arguments, "--json")
    assert status == 0
    assert json.loads(said)["classes"] == [2, 0, 2, 0]
    with Image.open(film) as found:
        assert found.n_frames == 6
        assert found.info["loop"] == 0
    with Image.open(out) as image:
        wide = image.size[0]
    with Image.open(film) as found:
        assert found.size[0] < wide
    assert sorted(p.name for p in tmp_path.iterdir()) == ["film.gif", "grid.png"]


def test_frames_become_a_spectrogram_or_sound(trained, capsys, tmp_path):
    png, wav = tmp_path / "x.png", tmp_path / "x.wav"
    assert run(capsys, "sample", trained["frames"], "--n", 4, "--out", png)[0] == 0
    with Image.open(png) as image:  # 8 frames of 20 energies, 5 times as large
        assert image.size == (4 * (40 + GAP) + GAP, 1 * (100 + GAP) + GAP)
    assert run(capsys, "sample", trained["frames"], "--n", 2, "--out", wav, "--eta", 0.5, "--steps", 4)[0] == 0
    samples, rate = soundfile.read(wav)
    assert rate == 8000
    assert len(samples) == 2 * (8 * 80 + 0.2 * 8000)
    assert 0 < np.abs(samples).max() < 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.png", "x.wav"]


@pytest.mark.parametrize(
    ("which", "arguments", "message"),
    [
        ("answers", (), "mlp on small answers and makes nothing; train who does: `lamina train ddpm digits`"),
        ("pixels", ("--out", "x.wav"), "--out x.wav: small is written as .png"),
        ("frames", ("--out", "x.jpg"), "--out x.jpg: mels is written as .png or .wav"),
        ("pixels", ("--out", "nowhere/x.png"), "--out nowhere/x.png: is no place for a file; make the folder first"),
        ("pixels", ("--trajectory", "x.mp4"), "--trajectory x.mp4: it is written as .gif"),
        ("pixels", ("--steps", "13"), "13 steps of sampling: this model was trained with 12; give 1 to 12"),
        ("pixels", ("--classes", "4"), "class 4: give 2, each 0 to 3"),
        ("pixels", ("--classes", "two"), "--classes 'two': give numbers, such as 3 or 0,1,2"),
        ("pixels", ("--n", "0"), "--n 0: it must be at least 1"),
        ("pixels", ("--guidence", "1"), "unknown option '--guidence'; did you mean '--guidance'?"),
    ],
)
def test_what_cannot_be_done_is_one_line(trained, capsys, tmp_path, monkeypatch, which, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, "sample", trained[which], "--n", 2, *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_pillow_the_line_that_installs_it(trained, capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    status, _, err = run(capsys, "sample", trained["pixels"], "--out", tmp_path / "x.png")
    assert status == 2
    assert "run: pip install 'lamina[image]'" in err


def _saved(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((1, 1, 8, 8), np.float32), "too few rows (1) to hold any out"),
        (MIXED, "holds Python objects"),
        (np.zeros((40, 1, 9, 9), np.float32), "ddpm: size=9 is halved"),
    ],
)
def test_images_that_make_no_data_set_are_one_line(x, message, capsys, tmp_path):
    path = _saved(tmp_path / "mine.npz", x=x, y=np.arange(len(x)) % 2)
    status, _, err = run(capsys, "train", "ddpm", path, "--steps", 1, "--out", tmp_path / "run")
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


def test_a_schedule_that_never_reaches_noise_is_one_line(capsys, tmp_path):
    keys = ("--set", "noise_steps=100", "--set", "betas=[0.0001,0.02]")
    status, _, err = run(capsys, "train", "ddpm", "digits", *keys, "--steps", 1, "--out", tmp_path / "run")
    assert status == 2
    assert "after 100 steps alpha-bar is 0.364" in err
    assert not (tmp_path / "run").exists()


def test_the_size_is_solved_beside_keys_of_the_task(capsys, tmp_path, trained):
    arguments = ("--params", "20k", "--set", "prediction=v", "--set", "noise_steps=12", "--steps", 1, "--batch-size", 4)
    status, said, _ = run(capsys, "train", "gru", "mels", *arguments, "--out", tmp_path / "run", "--json")
    assert status == 0
    assert json.loads(said)["params"] == pytest.approx(20_000, rel=0.05)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["order"]["keys"]["prediction"] == "v"


def test_a_grids_pixels_are_the_images(tmp_path):
    found = grid(torch.tensor([0.0, 1.0, 0.5]).reshape(3, 1, 1, 1), tile=4)
    assert found.shape == (2 * (4 + GAP) + GAP, 2 * (4 + GAP) + GAP, 3)
    assert (found[GAP : GAP + 4, GAP : GAP + 4] == 0).all()
    assert (found[GAP : GAP + 4, 2 * GAP + 4 : 2 * GAP + 8] == 255).all()
    assert (found[2 * GAP + 4 : 2 * GAP + 8, GAP : GAP + 4] == 128).all()
    write_png(tmp_path / "a.png", found)
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), found)
    with pytest.raises(UserError, match="images of 2 colours"):
        grid(torch.zeros(1, 2, 4, 4))


def test_frames_stand_upright():
    x = torch.zeros(1, 3, 2)
    x[0, 0, 1] = 1.0  # first frame, high frequency: top left
    found = spectra(x, 0.0, 1.0)
    assert found.shape == (1, 1, 2, 3)
    assert found[0, 0, 0, 0] == 1
    assert float(found.sum()) == 1


def test_nothing_half_written_where_the_disk_fails(tmp_path, monkeypatch):
    pictures = [grid(torch.rand(2, 1, 4, 4)) for _ in range(2)]

    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fails)
    for write, what in ((write_png, pictures[0]), (write_gif, pictures)):
        with pytest.raises(OSError):
            write(tmp_path / "x", what)
    assert not list(tmp_path.iterdir())


def _made(task: Literal["denoise", "adversarial"] = "denoise", n: int = 3) -> None: ...


def test_options_may_be_words():
    assert parse("it:task=adversarial,n=4", {"it": _made}) == ("it", {"task": "adversarial", "n": 4})
    assert spell("it", {"task": "adversarial", "n": 3}, _made) == "it:task=adversarial"
    with pytest.raises(UserError, match="unknown word 'denoised'; did you mean 'denoise'"):
        parse("it:task=denoised", {"it": _made})


def test_digit_mels_are_single_digits_of_one_length(monkeypatch):
    """Of recordings that are made here: tones whose pitch is the digit, in place of a speaker's."""

    def tones(seconds: float) -> list[list[list[torch.Tensor]]]:
        t = torch.arange(round(8000 * seconds)) / 8000
        return [[[(2 * torch.pi * (300 + 300 * digit) * t).sin()] for digit in range(10)]]

    monkeypatch.delenv("LAMINA_DATA", raising=False)
    clips = {"train": tones(0.3) * 2, "dev": tones(0.9), "test": tones(0.5)}
    monkeypatch.setattr(sys.modules["lamina.data.digit_mels"], "said", lambda *_: clips)
    found = data.load("digit_mels")
    assert (found.task, found.n_classes, found.rate, found.shape) == ("denoise", 10, 8000, (64, 40))
    assert [len(part) for part in (found.train, found.dev, found.test)] == [20, 10, 10]
    assert found.train.y.tolist() == list(range(10)) * 2
    assert "eSpeak" in found.source
    floor = float(np.log(1e-6))
    assert float(found.train.x[:, -1].max()) == pytest.approx(floor, abs=1e-4)  # 0.3 s, then silence
    assert float(found.dev.x[:, -1].max()) > 0  # cut, not faded
    peak = found.dev.x.mean(1).argmax(1)
    assert (peak.diff() > 0).all()  # higher digits, higher bands
    assert data.load("digit_mels:task=adversarial").task == "adversarial"
