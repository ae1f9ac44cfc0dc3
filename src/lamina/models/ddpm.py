"""DDPM: the U-Net of Denoising Diffusion Probabilistic Models (Ho, Jain & Abbeel 2020): which noise is in an image."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core import Config, UserError
from lamina.layers.unet import Conv3, Down, GroupNorm, ImageAttention, ResidualBlock, TimeEmbedding, Up
from lamina.models.model import Knob, Model

__all__ = ["DDPM", "UNet", "UNetConfig"]


class UNetConfig(Config):
    """channels of the levels, each with half of the rows and columns of the one before; attention: levels from 0 that
    attend.

    channels=[128, 256, 256, 256], n_blocks=2, pad="end" is the published network of 32x32 images.
    """

    size: int | tuple[int, int] = Field(32, description="the image's side, or height and width")
    d_in: int = Field(1, ge=1, description="colours of an image")
    d_out: int | None = Field(None, ge=1, description="default: as many as come in")
    channels: tuple[int, ...] = Field((32, 64, 128), min_length=1)
    n_blocks: int = Field(1, ge=1, description="residual blocks a level; one more on the way up")
    attention: tuple[int, ...] = (1,)
    attention_up: tuple[int, ...] | None = Field(None, description="default: as on the way down")
    attention_mid: bool = True
    d_head: int | None = Field(None, ge=1, description="default: one head")
    d_time: int | None = Field(None, ge=1, description="default: 4 times the first channels")
    n_classes: int = Field(0, ge=0, description="0: images without classes")
    no_class: bool = Field(True, description="the table of classes has one row more, for no class")
    dropout: float = Field(0.0, ge=0, lt=1)
    n_groups: int | None = Field(None, ge=1, description="of each norm; default: of four channels and more, at most 32")
    eps: float = Field(1e-6, gt=0)
    shift: float = Field(1.0, description="of the waves of time: their frequencies are 10000^(-i / (C/2 - shift))")
    pad: str = Field("both", pattern="^(both|end)$", description="where zeros stand at a step of 2")

    @property
    def image(self) -> tuple[int, int]:
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)


def groups_for(channels: tuple[int, ...]) -> int:
    """The most groups, 32 at most, that all widths have and of four channels and more: one channel's norm would undo
    what a shift adds to it.
    """
    return next(n for n in range(max(1, min(32, min(channels) // 4)), 0, -1) if not any(c % n for c in channels))


def checked(config: UNetConfig) -> UNetConfig:
    """Refuses sizes that do not go together; each line says what, and the remedy."""
    levels = range(len(config.channels))
    most = 1 << levels[-1]
    for side in config.image:
        if side < 1 or side % most:
            raise UserError(f"ddpm: size={side} is halved {levels[-1]} times; give a multiple of {most}")
    if any(c < 1 for c in config.channels):
        raise UserError(f"ddpm: channels={list(config.channels)}: each level has one and more")
    for key in ("attention", "attention_up"):
        for level in getattr(config, key) or ():
            if level not in levels:
                raise UserError(f"ddpm: {key}={level}: there are the levels 0 to {levels[-1]}")
    first = config.channels[0]
    if first % 2 or first / 2 <= config.shift:
        raise UserError(
            f"ddpm: channels[0]={first}: sines and cosines come in pairs, shift={config.shift:g} and more of them; "
            f"give an even number above {2 * config.shift:g}"
        )
    for i, c in enumerate(config.channels):
        if config.n_groups and c % config.n_groups:
            raise UserError(f"ddpm: channels[{i}]={c} make no n_groups={config.n_groups}; give a multiple")
        if config.d_head and c % config.d_head and i in _attending(config):
            raise UserError(f"ddpm: channels[{i}]={c} make no heads of d_head={config.d_head}; give a multiple")
    return config


def _attending(config: UNetConfig) -> set[int]:
    """The levels with attention anywhere; the middle has the last level's channels."""
    middle = (len(config.channels) - 1,) if config.attention_mid else ()
    return {*config.attention, *(config.attention_up or ()), *middle}


class Level(nn.Module):
    """The blocks of a level on one way, each with attention behind it or none, and the change of scale behind all."""

    def __init__(self, blocks: list[nn.Module], attention: list[nn.Module], scale: nn.Module | None) -> None:
        super().__init__()
        self.blocks, self.attention = nn.ModuleList(blocks), nn.ModuleList(attention)
        self.scale = scale

    def each(self) -> list[tuple[nn.Module, nn.Module | None]]:
        """The blocks with their attention."""
        return [(block, self.attention[i] if len(self.attention) else None) for i, block in enumerate(self.blocks)]


class UNet(nn.Module):
    """Images at time t -> what is predicted of them (the noise): [B,d_in,F,W], t [B] -> [B,d_out,F,W].

        down   at each level n_blocks residual blocks, then a convolution at steps of 2
        mid    block, attention, block
        up     n_blocks + 1 blocks a level, each beside the output that the way down had there; places are doubled
        block  x + conv(silu(norm(conv(silu(norm(x))) + W silu(e)))),    e = MLP(waves of t) + table[class]

    t may be a fraction. classes [B] int64 where n_classes > 0; n_classes itself, and None, are no class. Any image
    whose sides can be halved at each level; others are refused. 2,587,491 weights with d_in=3, else by default.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.n_classes, self.no_class = config.n_classes, config.no_class
        channels = config.channels
        self.image_shape = (config.d_in, *config.image)
        self.d_in, self.d_out = self.image_shape, (config.d_out or config.d_in, *config.image)
        d_time = config.d_time or 4 * channels[0]
        groups = {"n_groups": config.n_groups or groups_for(channels), "eps": config.eps}
        up = config.attention if config.attention_up is None else config.attention_up

        def blocks(widths: list[int], d_out: int) -> list[nn.Module]:
            return [ResidualBlock(w, d_out, dropout=config.dropout, **groups) for w in widths]  # type: ignore[arg-type]

        def attention(n: int, width: int) -> list[nn.Module]:
            return [ImageAttention(width, config.d_head, **groups) for _ in range(n)]  # type: ignore[arg-type]

        self.time = TimeEmbedding(channels[0], d_time, config.shift)
        if self.n_classes:
            self.classes = nn.Embedding(self.n_classes + self.no_class, d_time)
        self.stem = Conv3(config.d_in, channels[0])
        self.down = nn.ModuleList()
        skips, width, n, last = [channels[0]], channels[0], config.n_blocks, len(channels) - 1
        for i, c in enumerate(channels):
            scale = Down(c, config.pad == "end") if i < last else None
            attend = attention(n * (i in config.attention), c)
            self.down.append(Level(blocks([width, *[c] * (n - 1)], c), attend, scale))
            skips += [c] * (n + (i < last))
            width = c
        self.mid = Level(blocks([width, width], width), attention(int(config.attention_mid), width), None)
        self.up = nn.ModuleList()
        for i, c in reversed(list(enumerate(channels))):
            widths = [width, *[c] * n]
            inputs = [w + skips.pop() for w in widths]
            self.up.append(Level(blocks(inputs, c), attention((n + 1) * (i in up), c), Up(c) if i else None))
            width = c
        self.norm = GroupNorm(width, **groups)  # type: ignore[arg-type]
        self.head = Conv3(width, self.d_out[0])
        for part in self.head.parameters():  # at first no noise is seen
            nn.init.zeros_(part)
        # what time and class add in all blocks, in one product
        self.widths = [m.d_out for m in self.modules() if isinstance(m, ResidualBlock)]
        self.shift = nn.Linear(d_time, sum(self.widths))

    def forward(self, images: Tensor, t: Tensor, classes: Tensor | None = None) -> Tensor:
        self._check(images, classes)
        e = self.time(t)
        if self.n_classes:
            none = t.new_full(t.shape, self.n_classes, dtype=torch.int64)
            e = e + self.classes(none if classes is None else classes)
        shifts = iter(self.shift(F.silu(e)).split(self.widths, 1))
        x = self.stem(images.permute(0, 2, 3, 1))
        seen = [x]
        for level in self.down:
            for block, attention in level.each():
                x = block(x, next(shifts))
                x = x if attention is None else attention(x)
                seen.append(x)
            if level.scale is not None:
                x = level.scale(x)
                seen.append(x)
        first, second = self.mid.blocks
        x = first(x, next(shifts))
        for attention in self.mid.attention:
            x = attention(x)
        x = second(x, next(shifts))
        for level in self.up:
            for block, attention in level.each():
                x = block(torch.cat([x, seen.pop()], -1), next(shifts))
                x = x if attention is None else attention(x)
            x = x if level.scale is None else level.scale(x)
        y: Tensor = self.head(self.norm(x)).permute(0, 3, 1, 2)
        return y

    def example(self) -> tuple[Tensor, Tensor]:
        """Inputs of forward: one image and its time."""
        return torch.zeros(1, *self.image_shape), torch.zeros(1)

    def _check(self, images: Tensor, classes: Tensor | None) -> None:
        most = 1 << len(self.down) - 1
        if images.dim() != 4 or images.shape[1] != self.image_shape[0] or any(s % most for s in images.shape[2:]):
            raise ValueError(
                f"ddpm: images of shape {list(images.shape)} do not fit [B,{self.image_shape[0]},F,W] with sides that "
                f"are multiples of {most}; pad or resize them"
            )
        if classes is not None and not self.n_classes:
            raise ValueError("ddpm: classes are given, but n_classes=0; create it with n_classes")
        if classes is None and self.n_classes and not self.no_class:
            raise ValueError("ddpm: its classes have no row for no class; give classes")


def build(config: Any) -> nn.Module:
    return UNet(checked(config))


DDPM = Model(
    name="ddpm",
    paper="Denoising Diffusion Probabilistic Models (Ho, Jain & Abbeel)",
    year=2020,
    family="generative",
    view="pixels",
    config_of=lambda _: UNetConfig,
    build=build,
    knobs=(Knob("channels", 4, 4), Knob("d_time", 4)),
    idea="Noise becomes an image in many small steps: a network that sees an image with some noise says which noise.",
    equations=(
        "x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e,    loss = |e - net(x_t, t)|^2\n"
        "x_(t-1) = (x_t - b_t / sqrt(1 - a_t) net(x_t, t)) / sqrt(1 - b_t) + s_t z"
    ),
    use="To draw images like those at hand: training is a plain regression and does not collapse.",
    avoid="A sample must come in one pass, or the input comes as a stream: it takes hundreds of passes.",
    references=(
        "Ho, Jain & Abbeel 2020, arXiv:2006.11239",
        "Ronneberger, Fischer & Brox 2015, arXiv:1505.04597 (U-Net)",
    ),
    task="denoise",
    ema=0.999,
)
