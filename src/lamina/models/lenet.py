"""LeNet-5: Gradient-based learning applied to document recognition (LeCun, Bottou, Bengio & Haffner 1998)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from lamina.core import Config, UserError
from lamina.core.config import nearest
from lamina.layers.image import ConvBlock, Dense
from lamina.models.lenet_published import PublishedLeNet
from lamina.models.model import Knob, Model

__all__ = ["LENET", "LeNet", "LeNetConfig", "PublishedConfig"]


class LeNetConfig(Config):
    """channels of the first convolution (the second has 8/3 as many), d_ff of the first dense layer (then 7/10)."""

    variant: Literal["modern"] = "modern"
    channels: int = Field(6, ge=1)
    d_ff: int = Field(120, ge=2)
    n_classes: int = Field(10, ge=1)
    activation: Literal["relu", "tanh"] = "relu"
    d_in: int = Field(1, ge=1, description="colours of an image")


class PublishedConfig(Config):
    """The network of 1998, whose sizes are all fixed."""

    variant: Literal["published"] = "published"
    n_classes: int = Field(10, ge=1)


class LeNet(nn.Module):
    """conv 5x5, pool, conv 5x5, pool, three dense layers: images [B,d_in,32,32] -> logits [B,n_classes].

    61,706 weights with the defaults: the modern form, every map connected to every other and max pooling.
    """

    def __init__(
        self, channels: int = 6, d_ff: int = 120, n_classes: int = 10, activation: str = "relu", d_in: int = 1
    ) -> None:
        super().__init__()
        second = round(channels * 8 / 3)
        self.image_shape = (d_in, 32, 32)
        self.d_in, self.d_out = self.image_shape, n_classes
        self.features = nn.Sequential(
            ConvBlock(d_in, channels, 5, activation),  # 32 -> 14
            ConvBlock(channels, second, 5, activation),  # 14 -> 5
        )
        self.head = Dense((second * 25, d_ff, round(d_ff * 0.7), n_classes), activation)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


def config_of(keys: dict[str, Any]) -> type[Config]:
    variant = keys.get("variant", "modern")
    if variant not in ("modern", "published"):
        raise UserError(f"lenet: {nearest(str(variant), ('modern', 'published'), 'variant')}")
    return PublishedConfig if variant == "published" else LeNetConfig


def build(config: Any) -> nn.Module:
    if config.variant == "published":
        return PublishedLeNet(config.n_classes)
    return LeNet(config.channels, config.d_ff, config.n_classes, config.activation, config.d_in)


LENET = Model(
    name="lenet",
    paper="Gradient-based learning applied to document recognition (LeCun, Bottou, Bengio & Haffner)",
    year=1998,
    family="convolution",
    view="image",
    config_of=config_of,
    build=build,
    knobs=(Knob("channels", 1), Knob("d_ff", 2)),
    idea="One small filter is shared by all places, pooling forgets where exactly, features grow in reach.",
    equations="y[c,i,j] = f(max_{2x2} (b_c + sum_{k,u,v} W[c,k,u,v] x[k,i+u,j+v]))",
    use="Images, and anything on a grid whose patterns may stand anywhere.",
    avoid="Order in time matters more than place, or the input comes as a stream.",
    references=("LeCun, Bottou, Bengio & Haffner 1998, Proceedings of the IEEE 86(11)",),
)
