"""AlexNet: ImageNet classification with deep convolutional neural networks (Krizhevsky, Sutskever & Hinton 2012)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from lamina.core import Config
from lamina.layers.image import ResponseNorm
from lamina.models.model import Knob, Model

__all__ = ["ALEXNET", "AlexNet", "AlexNetConfig"]

# maps of the five convolutions, in units of the width: 96 256 384 384 256 and 64 192 384 256 256 at a width of 32
CHANNELS = {"two_towers": (3, 8, 12, 12, 8), "one_tower": (2, 6, 12, 8, 8)}
# by the side of the image: kernel and stride of the first convolution, side of the last maps
STEMS = {32: (5, 1, 3), 224: (11, 4, 6)}


class AlexNetConfig(Config):
    """two_towers is the published network, one_tower the later one without groups and norms (Krizhevsky 2014).

    width=32, d_ff=4096, image=224, n_classes=1000 are their published sizes.
    """

    variant: Literal["two_towers", "one_tower"] = "two_towers"
    width: int = Field(8, ge=2, multiple_of=2, description="the first convolution has 3 maps a unit, or 2 in one tower")
    d_ff: int = Field(256, ge=2, description="of the two dense layers before the last")
    n_classes: int = Field(10, ge=1)
    image: Literal[32, 224] = 32
    dropout: float = Field(0.5, ge=0, lt=1)


class AlexNet(nn.Module):
    """Five convolutions and three dense layers, all with ReLU: images [B,3,F,F] -> logits [B,n_classes].

        conv 11x11/4, [norm], pool, conv 5x5, [norm], pool, conv 3x3, conv 3x3, conv 3x3, pool, dense, dense, dense

    Pooling takes 3x3 at steps of 2, so that the windows overlap. Images of 32x32 get 5x5 at steps of 1 for the first
    convolution; their maps are 32, 15, 7 and 3 wide where those of 224x224 are 55, 27, 13 and 6.

    two_towers: the halves of the maps meet in the third convolution and in the dense layers only (groups of two in the
    second, fourth and fifth), maps are normalised by their neighbours, dropout stands behind the first two dense
    layers, and the biases of convolutions 2, 4, 5 and of these two start at 1. 60,965,224 weights at the published
    size.

    one_tower: every map sees every other, no norm, dropout before the first two dense layers; torchvision's `alexnet`,
    with its names of the weights. 61,100,840 weights. Krizhevsky 2014, arXiv:1404.5997.

    Weights start by their fan-in (He et al. 2015): the paper's deviation of 0.01 serves its own widths only.
    """

    def __init__(
        self,
        variant: str = "two_towers",
        width: int = 8,
        d_ff: int = 256,
        n_classes: int = 10,
        image: int = 32,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        two = variant == "two_towers"
        groups = 2 if two else 1
        kernel, stride, side = STEMS[image]
        a, b, c, d, e = (units * width for units in CHANNELS[variant])
        self.image_shape = (3, image, image)
        self.d_in, self.d_out = self.image_shape, n_classes

        def norm() -> list[nn.Module]:
            return [ResponseNorm()] if two else []

        self.features = nn.Sequential(
            nn.Conv2d(3, a, kernel, stride, padding=2), nn.ReLU(), *norm(), nn.MaxPool2d(3, 2),
            nn.Conv2d(a, b, 5, padding=2, groups=groups), nn.ReLU(), *norm(), nn.MaxPool2d(3, 2),
            nn.Conv2d(b, c, 3, padding=1), nn.ReLU(),
            nn.Conv2d(c, d, 3, padding=1, groups=groups), nn.ReLU(),
            nn.Conv2d(d, e, 3, padding=1, groups=groups), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.pool = nn.Identity() if two else nn.AdaptiveAvgPool2d(side)  # takes larger images than it was made for
        widths = (e * side * side, d_ff, d_ff)
        hidden: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            dense = [nn.Linear(narrow, wide), nn.ReLU()]
            hidden += [*dense, nn.Dropout(dropout)] if two else [nn.Dropout(dropout), *dense]
        self.classifier = nn.Sequential(*hidden, nn.Linear(d_ff, n_classes))
        self._start((0, 1, 0, 1, 1, 1, 1, 0) if two else (0,) * 8)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(torch.flatten(self.pool(self.features(images)), 1))
        return logits

    def _start(self, biases: tuple[int, ...]) -> None:
        """First weights. A bias of 1 gives the ReLU behind it something to pass from the start."""
        layers = [m for m in self.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        for layer, bias in zip(layers, biases, strict=True):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.constant_(cast(Tensor, layer.bias), bias)


def build(config: Any) -> nn.Module:
    return AlexNet(**config.model_dump())


ALEXNET = Model(
    name="alexnet",
    paper="ImageNet classification with deep convolutional neural networks (Krizhevsky, Sutskever & Hinton)",
    year=2012,
    family="convolution",
    view="image",
    config_of=lambda _: AlexNetConfig,
    build=build,
    knobs=(Knob("width", 2, 2), Knob("d_ff", 2)),
    idea="LeNet, deeper and wider: ReLUs let it learn soon, dropout keeps it from learning the images by heart.",
    equations=(
        "y[c] = relu(b_c + sum_k W[c,k] * x[k])\n"
        "n[c] = y[c] / (2 + 1e-4 sum_{|j-c|<=2} y[j]^2)^0.75\n"
        "p[c,i,j] = max_{3x3} n[c,2i+u,2j+v]"
    ),
    use="Colour images, of 32x32 or of 224x224 in many classes.",
    avoid="Few weights must do: the first dense layer holds most of them. Or the input comes as a stream.",
    references=(
        "Krizhevsky, Sutskever & Hinton 2012, NIPS 25",
        "Krizhevsky 2014, arXiv:1404.5997 (one tower)",
    ),
)
