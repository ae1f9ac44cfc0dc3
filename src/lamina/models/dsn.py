"""DSN: Deeply-Supervised Nets (Lee, Xie, Gallagher, Zhang & Tu 2014): a plain deep CNN, hidden layers answer too."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core import Config
from lamina.layers.image import Dense
from lamina.models.model import Knob, Model

__all__ = ["DSN", "Dsn", "DsnConfig"]


class DsnConfig(Config):
    """channels of the first stage, doubled at each next one; n_layers convolutions a stage; d_ff of the dense layer."""

    channels: int = Field(8, ge=1)
    n_stages: int = Field(3, ge=1, le=5, description="each halves the image's sides")
    n_layers: int = Field(3, ge=1, description="convolutions a stage")
    d_ff: int = Field(64, ge=1)
    colours: int = Field(1, ge=1, description="channels of the image")
    n_classes: int = Field(10, ge=1)


class Stage(nn.Module):
    """n convolutions of 3x3, each with a ReLU, then 2x2 max pooling: [B,C,F,F] -> [B,C',F/2,F/2]."""

    def __init__(self, channels_in: int, channels_out: int, n: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(channels_out if i else channels_in, channels_out, 3, padding=1) for i in range(n)
        )

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = conv(x).relu()
        return F.max_pool2d(x, 2)


class Dsn(nn.Module):
    """Stages of convolutions, then two dense layers: images [B,colours,32,32] -> logits [B,n_classes].

    Nothing in it but convolution, ReLU and pooling: no norm, no skip, which came later. `companions` names the hidden
    outputs that training puts companion heads on (`lamina.tasks.DeeplySupervised`); they are no part of the network.
    """

    def __init__(
        self, channels: int = 8, n_stages: int = 3, n_layers: int = 3, d_ff: int = 64, colours: int = 1,
        n_classes: int = 10,
    ) -> None:  # fmt: skip
        super().__init__()
        self.d_in = self.image_shape = (colours, 32, 32)
        self.d_out = n_classes
        widths = [colours, *(channels * 2**i for i in range(n_stages))]
        self.stages = nn.Sequential(*(Stage(a, b, n_layers) for a, b in pairwise(widths)))
        self.head = Dense((widths[-1] * (32 >> n_stages) ** 2, d_ff, n_classes))
        self.companions = tuple(f"stages.{i}" for i in range(n_stages))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.stages(images))
        return logits


def build(config: Any) -> nn.Module:
    return Dsn(**config.model_dump())


DSN = Model(
    name="dsn",
    paper="Deeply-Supervised Nets (Lee, Xie, Gallagher, Zhang & Tu)",
    year=2014,
    family="convolution",
    view="image",
    config_of=lambda _: DsnConfig,
    build=build,
    knobs=(Knob("channels", 1), Knob("d_ff", 1)),
    idea="Hidden layers are asked for the answer as well, so that early features serve it and gradients stay strong.",
    equations=(
        "loss = criterion(y) + sum_m a_m [criterion(W_m h_m) - gamma]_+,  a_m = a (1 - t / N)\n"
        "h_m a hidden layer's output, W_m its companion head, t of N training steps done"
    ),
    use="Images; deep plain networks, and few examples to train them with. `--companions` does it to any other stack.",
    avoid="Norms and residuals carry the gradient already: there companion losses add less.",
    references=("Lee, Xie, Gallagher, Zhang & Tu 2014, arXiv:1409.5185",),
)
