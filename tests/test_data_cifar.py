"""cifar10 from a zip of JPEG files in a folder a class, and LeNet in colour on it."""

from __future__ import annotations

import io
import sys
import zipfile

import pytest
import torch
from PIL import Image

from lamina import data, models
from lamina.core import UserError
from lamina.data.cifar import PLACE
from lamina.train import Order

CLASSES = ("cat", "dog", "ship")


def _jpeg(colour: tuple[int, int, int], side: int = 32) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMINA_DATA", str(tmp_path))
    (tmp_path / PLACE).parent.mkdir()
    return tmp_path / PLACE


def _write(path, train: int = 4, dev: int = 2, more: dict[str, bytes] | None = None) -> None:
    """Each class has a colour of its own, and each image a shade of it."""
    with zipfile.ZipFile(path, "w") as archive:
        for part, n in (("train", train), ("dev", dev)):
            for c, name in enumerate(CLASSES):
                for i in range(n):
                    colour = [20 + 8 * i] * 3
                    colour[c] = 230
                    archive.writestr(f"{part}/{name}/{i:04}.jpg", _jpeg(tuple(colour)))
        for name, content in (more or {}).items():
            archive.writestr(name, content)


def test_parts_classes_and_pixels(place) -> None:
    _write(place, more={"README.txt": b"not an image", "test/cat/0001.jpg": b"of no part"})
    cifar = data.load("cifar10")
    assert [len(p) for p in (cifar.train, cifar.dev, cifar.test)] == [12, 3, 3]
    assert (cifar.shape, cifar.n_out, cifar.kind) == ((3, 32, 32), 3, "image")
    for part in (cifar.train, cifar.dev, cifar.test):
        assert part.y.bincount().tolist() == [len(part) // 3] * 3
        assert torch.equal(part.x.mean((2, 3)).argmax(1), part.y)  # the class's own colour, in red, green, blue
        assert float(part.x.min()) >= 0
        assert float(part.x.max()) <= 1
    assert float(cifar.train.x[0, 0].mean()) == pytest.approx(230 / 255, abs=0.02)
    assert not set(map(float, cifar.dev.x[:, :].sum((1, 2, 3)))) & set(map(float, cifar.test.x.sum((1, 2, 3))))
    assert data.load("cifar10").digest == cifar.digest


def test_lenet_takes_its_colours_and_alexnet_too(place) -> None:
    _write(place)
    cifar = data.load("cifar10")
    for name, keys in (("lenet", {}), ("alexnet", {"width": 2, "d_ff": 8})):
        task = Order(name, keys, "cifar10").build(cifar)
        assert task.backbone.image_shape == (3, 32, 32)
        assert task.view.text == "32x32 as it is"
        assert task(cifar.train.rows(torch.arange(4))).shape == (4, 3)
    with pytest.raises(data.CannotTake, match="needs images of 1 channels; cifar10 has 3"):
        Order("lenet", {"variant": "published"}, "cifar10").build(cifar)
    grey = Order("lenet", {}, "digits").build(data.load("digits"))
    assert grey.backbone.image_shape == (1, 32, 32)
    assert grey.backbone.config == models.create("lenet").config


def test_what_is_missing_or_broken_gets_one_line(place, monkeypatch) -> None:
    with pytest.raises(UserError, match=r"cifar10_9k\.zip is not there; set LAMINA_DATA"):
        data.load("cifar10")
    place.write_bytes(b"no zip")
    with pytest.raises(UserError, match="cannot be read"):
        data.load("cifar10")
    _write(place, dev=0)
    with pytest.raises(UserError, match=r"holds no dev/CLASS/\*\.jpg"):
        data.load("cifar10")
    _write(place, more={"train/cat/9999.jpg": b"no picture"})
    with pytest.raises(UserError, match=r"train/cat/9999\.jpg is no JPEG of 32x32 pixels") as error:
        data.load("cifar10")
    assert "\n" not in str(error.value)
    _write(place, more={"train/cat/9999.jpg": _jpeg((1, 2, 3), side=16)})
    with pytest.raises(UserError, match="is no JPEG of 32x32 pixels"):
        data.load("cifar10")
    _write(place, more={"train/cat/9999.jpg": _jpeg((1, 2, 3), side=1)})
    with pytest.raises(UserError, match=r"\(it has 1x1\)"):
        data.load("cifar10")
    _write(place)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UserError, match=r"needs Pillow; install it with pip install 'lamina\[image\]'"):
        data.load("cifar10")
    monkeypatch.delenv("LAMINA_DATA")
    with pytest.raises(UserError, match="LAMINA_DATA is not set"):
        data.load("cifar10")
