"""The 2-D blocks: plain modules over images, for the networks that see a whole picture at once."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.layers.pointwise import ACTIVATIONS

__all__ = ["ConvBlock", "Dense", "ResponseNorm"]


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


class ResponseNorm(nn.Module):
    """Local response normalisation: each map by its neighbours at the same place (Krizhevsky et al. 2012).

        y[c] = x[c] / (k + alpha sum_{|j-c| <= n/2} x[j]^2)^beta          n = 5, k = 2, alpha = 1e-4, beta = 0.75

    [B,C,F,F] -> [B,C,F,F]; the sum ends at the first and the last map.
    """

    n, k, alpha, beta = 5, 2.0, 1e-4, 0.75

    def forward(self, x: Tensor) -> Tensor:
        # F.local_response_norm (whose alpha is n times the paper's) pools in three dimensions: twice the time on a CPU
        squares = F.pad(x * x, (0, 0, 0, 0, self.n // 2, self.n // 2))
        near = sum(squares[:, j : j + x.shape[1]] for j in range(self.n))
        return x / (self.k + self.alpha * near).pow(self.beta)


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
