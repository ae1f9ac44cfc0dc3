"""The 2-D blocks: plain modules over images, for the networks that see a whole picture at once."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from lamina.layers.pointwise import ACTIVATIONS

__all__ = ["ConvBlock", "Dense"]


class ConvBlock(nn.Module):
    """Convolution, activation, 2x2 max pooling (LeCun et al. 1998). [B,C,F,F] -> [B,C',F',F'], F' = (F-kernel+1)//2."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, activation: str = "relu") -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel)
        self.pool = nn.MaxPool2d(2)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        # pooling first: both are monotone for the activations used, and a quarter of the values is left
        y: Tensor = ACTIVATIONS[self.activation](self.pool(self.conv(x)))
        return y


class Dense(nn.Module):
    """All values of an example through fully connected layers: [B,*C] -> [B,widths[-1]], an activation between."""

    def __init__(self, widths: tuple[int, ...], activation: str = "relu") -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(x, 1)
        for i, layer in enumerate(self.layers):
            x = layer(ACTIVATIONS[self.activation](x) if i else x)
        return x
