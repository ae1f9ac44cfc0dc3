"""LeNet-5: Gradient-based learning applied to document recognition (LeCun, Bottou, Bengio & Haffner 1998)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from lamina.core import Config
from lamina.layers.image import ConvBlock, Dense
from lamina.models.model import Knob, Model

__all__ = ["LENET", "LeNet", "LeNetConfig"]


class LeNetConfig(Config):
    """channels of the first convolution (the second has 8/3 as many), d_ff of the first dense layer (then 7/10)."""

    channels: int = Field(6, ge=1)
    d_ff: int = Field(120, ge=2)
    n_classes: int = Field(10, ge=1)
    activation: Literal["relu", "tanh"] = "relu"


class LeNet(nn.Module):
    """conv 5x5, pool, conv 5x5, pool, three dense layers: images [B,1,32,32] -> logits [B,n_classes].

    61,706 weights with the defaults: the modern form, every map connected to every other and max pooling.
    """

    image_shape = (1, 32, 32)

    def __init__(self, channels: int = 6, d_ff: int = 120, n_classes: int = 10, activation: str = "relu") -> None:
        super().__init__()
        second = round(channels * 8 / 3)
        self.d_in, self.d_out = self.image_shape, n_classes
        self.features = nn.Sequential(
            ConvBlock(1, channels, 5, activation),  # 32 -> 14
            ConvBlock(channels, second, 5, activation),  # 14 -> 5
        )
        self.head = Dense((second * 25, d_ff, round(d_ff * 0.7), n_classes), activation)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


def build(config: Any) -> nn.Module:
    return LeNet(config.channels, config.d_ff, config.n_classes, config.activation)


LENET = Model(
    name="lenet",
    paper="Gradient-based learning applied to document recognition (LeCun, Bottou, Bengio & Haffner)",
    year=1998,
    family="convolution",
    view="image",
    config_of=lambda _: LeNetConfig,
    build=build,
    knobs=(Knob("channels", 1), Knob("d_ff", 2)),
    idea="One small filter is shared by all places, pooling forgets where exactly, features grow in reach.",
    equations="y[c,i,j] = f(max_{2x2} (b_c + sum_{k,u,v} W[c,k,u,v] x[k,i+u,j+v]))",
    use="Images, and anything on a grid whose patterns may stand anywhere.",
    avoid="Order in time matters more than place, or the input comes as a stream.",
    references=("LeCun, Bottou, Bengio & Haffner 1998, Proceedings of the IEEE 86(11)",),
)
