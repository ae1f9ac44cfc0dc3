"""GAN: Generative adversarial nets (Goodfellow et al. 2014): one network makes images, another tells them from real."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core import Config, UserError
from lamina.core.config import nearest
from lamina.models.model import Knob, Model

__all__ = ["GAN", "ConvGanConfig", "Gan", "GanConfig", "MlpGanConfig"]

VARIANTS = ("conv", "mlp")
PIECES = 5  # linear maps of which a maxout unit takes the largest, as in 2014
SLOPE = 0.2  # of a leaky ReLU below 0 (Radford, Metz & Chintala 2015)


class GanConfig(Config):
    """What both variants have. d_in and size are the image's colours and side; n_classes: 0 makes any, else asked ones.

    loss names what the players play for; `lamina.tasks.adversarial` has the formulas.
    """

    size: int = Field(28, ge=1, description="side of an image")
    d_in: int = Field(1, ge=1, description="colours of an image")
    d_noise: int = Field(64, ge=1)
    n_classes: int = Field(0, ge=0)
    loss: Literal["non_saturating", "minimax", "hinge", "wasserstein"] = "non_saturating"


class ConvGanConfig(GanConfig):
    """channels of the widest maps, half as many at twice the side; a side is divisible by 4."""

    variant: Literal["conv"] = "conv"
    size: int = Field(28, ge=8, multiple_of=4, description="side of an image")
    channels: int = Field(64, ge=2, multiple_of=2)


class MlpGanConfig(GanConfig):
    """The pair of 2014: d_ff rectifiers a layer make, d_ff / 5 maxout units a layer tell, each of five pieces."""

    variant: Literal["mlp"] = "mlp"
    d_ff: int = Field(1200, ge=PIECES, multiple_of=PIECES)
    dropout: float = Field(0.5, ge=0, lt=1, description="of the discriminator's hidden units")


class ConvGenerator(nn.Module):
    """z [B,N] -> images [B,d_in,F,F] in -1..1: a linear map to small maps, then twice a transposed convolution.

    Every layer but the last ends in a batch norm and a ReLU, the last in tanh (Radford, Metz & Chintala 2015).
    """

    def __init__(self, d_in: int, size: int, channels: int, d_noise: int) -> None:
        super().__init__()
        self.shape = (channels, size // 4, size // 4)
        self.first = nn.Linear(d_noise, channels * (size // 4) ** 2, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.middle = nn.ConvTranspose2d(channels, channels // 2, 4, 2, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels // 2)
        self.last = nn.ConvTranspose2d(channels // 2, d_in, 4, 2, 1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.norm(self.first(z).unflatten(1, self.shape)).relu()
        x = self.norm2(self.middle(x)).relu()
        return torch.tanh(self.last(x))


class ConvFeatures(nn.Module):
    """Images [B,d_in,F,F] -> [B,C*F/4*F/4]: twice a convolution that halves the sides, leaky ReLU; no norm.

    Without a norm the score of an image depends on no other image, which the gradient penalty needs.
    """

    def __init__(self, d_in: int, size: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(d_in, channels // 2, 4, 2, 1)
        self.second = nn.Conv2d(channels // 2, channels, 4, 2, 1)
        self.d_out = channels * (size // 4) ** 2

    def forward(self, images: Tensor) -> Tensor:
        x = F.leaky_relu(self.first(images), SLOPE)
        return F.leaky_relu(self.second(x), SLOPE).flatten(1)


class MlpGenerator(nn.Module):
    """z [B,N] -> images [B,d_in,F,F] in -1..1: two layers of rectifiers, then tanh."""

    def __init__(self, d_in: int, size: int, d_ff: int, d_noise: int) -> None:
        super().__init__()
        self.shape = (d_in, size, size)
        self.first, self.second = nn.Linear(d_noise, d_ff), nn.Linear(d_ff, d_ff)
        self.last = nn.Linear(d_ff, d_in * size * size)

    def forward(self, z: Tensor) -> Tensor:
        x = self.second(self.first(z).relu()).relu()
        return torch.tanh(self.last(x)).unflatten(1, self.shape)


class MlpFeatures(nn.Module):
    """Images [B,d_in,F,F] -> [B,d_ff/5]: two layers of maxout units, y = max_p (W_p x + b_p), with dropout.

    Of the pixels 0.4 times as many are dropped as of the hidden units: 20 % beside 50 %.
    """

    def __init__(self, d_in: int, size: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.d_out, self.dropout = d_ff // PIECES, dropout
        self.first, self.second = nn.Linear(d_in * size * size, d_ff), nn.Linear(self.d_out, d_ff)

    def forward(self, images: Tensor) -> Tensor:
        x = F.dropout(images.flatten(1), 0.4 * self.dropout, self.training)
        for layer in (self.first, self.second):
            x = layer(x).unflatten(1, (self.d_out, PIECES)).amax(-1)
            x = F.dropout(x, self.dropout, self.training)
        return x


class Generator(nn.Module):
    """z [B,N], and classes [B] int64 where there are any -> images; a class stands one-hot beside the noise."""

    def __init__(self, body: nn.Module, n_classes: int) -> None:
        super().__init__()
        self.body, self.n_classes = body, n_classes

    def forward(self, z: Tensor, classes: Tensor | None = None) -> Tensor:
        if self.n_classes:
            assert classes is not None
            z = torch.cat([z, F.one_hot(classes, self.n_classes).to(z)], 1)
        return cast(Tensor, self.body(z))


class Discriminator(nn.Module):
    """Images [B,C,H,W] -> how real each seems [B], a logit: w.f + b, and e_y.f for its class y.

    f are the body's features; the product with the class's vector is the projection of Miyato & Koyama 2018.
    """

    def __init__(self, body: nn.Module, n_classes: int) -> None:
        super().__init__()
        width = cast(int, body.d_out)
        self.body, self.head = body, nn.Linear(width, 1)
        self.classes = nn.Embedding(n_classes, width) if n_classes else None

    def forward(self, images: Tensor, classes: Tensor | None = None) -> Tensor:
        features = self.body(images)
        logit: Tensor = self.head(features)[:, 0]
        if self.classes is not None:
            logit = logit + (self.classes(classes) * features).sum(1)
        return logit


class Gan(nn.Module):
    """Two players: .generator, noise z [B,d_noise] ~ N(0,1) -> images [B,C,H,W] in -1..1, and .discriminator.

    forward is the generator's; training and its losses are `lamina.tasks.Adversarial`. 2014's noise was uniform.
    """

    def __init__(self, config: GanConfig) -> None:
        super().__init__()
        noise = config.d_noise + config.n_classes
        maker: nn.Module
        teller: nn.Module
        if isinstance(config, ConvGanConfig):
            maker = ConvGenerator(config.d_in, config.size, config.channels, noise)
            teller = ConvFeatures(config.d_in, config.size, config.channels)
        elif isinstance(config, MlpGanConfig):
            maker = MlpGenerator(config.d_in, config.size, config.d_ff, noise)
            teller = MlpFeatures(config.d_in, config.size, config.d_ff, config.dropout)
        self.generator = Generator(maker, config.n_classes)
        self.discriminator = Discriminator(teller, config.n_classes)
        self.d_in, self.d_noise = config.d_noise, config.d_noise
        self.image_shape = self.d_out = (config.d_in, config.size, config.size)
        self.n_classes, self.loss = config.n_classes, config.loss

    def forward(self, z: Tensor, classes: Tensor | None = None) -> Tensor:
        return cast(Tensor, self.generator(z, classes))

    def example(self) -> tuple[Tensor, ...]:
        """Inputs of forward for one image."""
        z = torch.zeros(1, self.d_noise)
        return (z, torch.zeros(1, dtype=torch.int64)) if self.n_classes else (z,)


def config_of(keys: dict[str, Any]) -> type[Config]:
    variant = keys.get("variant", "conv")
    if variant not in VARIANTS:
        raise UserError(f"gan: {nearest(str(variant), VARIANTS, 'variant')}")
    return MlpGanConfig if variant == "mlp" else ConvGanConfig


GAN = Model(
    name="gan",
    paper="Generative adversarial nets (Goodfellow, Pouget-Abadie, Mirza, Xu, Warde-Farley, Ozair, Courville & Bengio)",
    year=2014,
    family="generative",
    view="pixels",
    config_of=config_of,
    build=Gan,
    knobs=(Knob("channels", 2, 2), Knob("d_ff", PIECES, PIECES), Knob("d_noise", 4)),
    idea="One network makes images from noise, another learns to tell them from real ones; each teaches the other.",
    equations=(
        "min_G max_D  E_x log D(x) + E_z log(1 - D(G(z)))\n"
        "non-saturating: G maximises E_z log D(G(z)); at the optimum D = 1/2 everywhere"
    ),
    use="Samples in one pass; sharp images where diffusion's many steps are too slow.",
    avoid="Likelihoods are asked for, or every kind of example must be there: modes go missing, training can collapse.",
    references=(
        "Goodfellow et al. 2014, arXiv:1406.2661",
        "Radford, Metz & Chintala 2015, arXiv:1511.06434",
        "Gulrajani et al. 2017, arXiv:1704.00028",
        "Miyato & Koyama 2018, arXiv:1802.05637",
    ),
    task="adversarial",
    ema=0.999,
)
