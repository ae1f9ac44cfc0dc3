"""What the tests of denoising share: small images, a tiny network for them, and a network that knows the truth."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn

from lamina.data import DataSet, Split
from lamina.tasks import Denoise, make

PIXELS = SimpleNamespace(name="tiny", view="pixels", task="denoise")
FRAMES = SimpleNamespace(name="mine", view="sequence")


class Tiny(nn.Module):
    """A convolution of the image, the time and the class. [B,C,H,W], t [B], classes [B] or None -> [B,C,H,W]."""

    def __init__(self, shape: tuple[int, int, int] = (1, 4, 4), n_classes: int = 0, steps: int = 50) -> None:
        super().__init__()
        self.image_shape, self.n_classes, self.steps = shape, n_classes, steps
        self.classes = nn.Embedding(n_classes + 1, 1)
        self.first, self.last = nn.Conv2d(shape[0] + 2, 8, 3, padding=1), nn.Conv2d(8, shape[0], 3, padding=1)

    def forward(self, images: Tensor, t: Tensor, classes: Tensor | None = None) -> Tensor:
        classes = torch.full_like(t, self.n_classes) if classes is None else classes
        told = torch.stack([t / self.steps, self.classes(classes)[:, 0]], 1)[:, :, None, None]
        told = told.expand(-1, -1, *images.shape[2:]).to(images.dtype)
        return self.last(torch.relu(self.first(torch.cat([images, told], 1))))


class Knows(nn.Module):
    """The noise that is expected in x_t where x_0 is N(mean, deviation^2), a mean of its own for each class."""

    def __init__(self, deviation: float, means: tuple[float, ...], n_classes: int = 0) -> None:
        super().__init__()
        self.image_shape, self.n_classes, self.deviation, self.means = (1, 1, 1), n_classes, deviation, means
        self.weight, self.kept = nn.Parameter(torch.zeros(())), None

    def forward(self, images: Tensor, t: Tensor, classes: Tensor | None = None) -> Tensor:
        abar = self.kept[t + 1].to(images.dtype)[:, None, None, None]
        mean = torch.tensor(self.means)[torch.zeros_like(t) if classes is None else classes]
        gap = images - abar.sqrt() * mean[:, None, None, None].to(images.dtype)
        return (1 - abar).sqrt() * gap / (abar * self.deviation**2 + 1 - abar)


def images(n: int = 40, shape: tuple[int, int, int] = (1, 4, 4), n_classes: int = 3) -> DataSet:
    generator = torch.Generator().manual_seed(0)
    split = Split(torch.rand(n, *shape, generator=generator), torch.arange(n) % n_classes)
    return DataSet("small", "image", "classify", split, split, split, "made here", n_classes=n_classes)


def frames(n: int = 30, shape: tuple[int, int] = (6, 3), n_classes: int = 3) -> DataSet:
    generator = torch.Generator().manual_seed(0)
    level, noise = (torch.randn(n, *size, generator=generator) for size in ((1, 1), shape))  # frames of a row are alike
    split = Split(5 + 1.9 * level + 0.6 * noise, torch.arange(n) % n_classes)
    return DataSet("mels", "audio", "denoise", split, split, split, "made here", n_classes=n_classes)


def task(dataset: DataSet, model: nn.Module, **keys: object) -> Denoise:
    entry = PIXELS if dataset.kind == "image" else FRAMES
    found = make(dataset, entry, model, keys={"noise_steps": 50, **keys})
    assert isinstance(found, Denoise)
    return found
