"""What stands in front of wav2vec 2.0's attention: convolutions over samples, and one that tells places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from lamina.core import Layer, Serial
from lamina.layers.conv import Conv
from lamina.layers.norm import LayerNorm, TimeNorm
from lamina.layers.pointwise import Activation

__all__ = ["ConvPosition", "FeatureEncoder", "WeightNormConv"]


class FeatureEncoder(Serial):
    """x <- gelu(norm(conv(x))) for each kernel, from samples to frames (Baevski et al. 2020, arXiv:2006.11477).

    Only frames whose samples are all there: T -> (T-kernel)//stride + 1, one convolution after another. norm "group":
    a `TimeNorm` behind the first convolution, none behind the others, which needs the whole input; "layer": a LayerNorm
    behind each, which streams. level: the samples first at mean 0 and variance 1 over the row.
    [B,T,1] -> [B,T',channels[-1]].
    """

    def __init__(
        self,
        channels: Sequence[int],
        kernels: Sequence[int],
        strides: Sequence[int],
        norm: Literal["group", "layer"] = "group",
        bias: bool = False,
        level: bool = False,
    ) -> None:
        if not len(channels) == len(kernels) == len(strides) or not len(channels):
            raise ValueError(
                f"FeatureEncoder: {len(channels)} channels, {len(kernels)} kernels, {len(strides)} strides; give as "
                "many of each, at least one"
            )
        if norm not in ("group", "layer"):
            raise ValueError(f"FeatureEncoder: norm is group or layer, not {norm!r}")
        layers: list[Layer] = [TimeNorm(1, 1e-7, affine=False)] if level else []
        d_in = 1
        for i, (d_out, kernel, stride) in enumerate(zip(channels, kernels, strides, strict=True)):
            layers.append(Conv(d_in, d_out, kernel, stride, edge="valid", bias=bias))
            if norm == "layer":
                layers.append(LayerNorm(d_out))
            elif i == 0:
                layers.append(TimeNorm(d_out))
            layers.append(Activation(d_out, "gelu"))
            d_in = d_out
        super().__init__(*layers)


class WeightNormConv(Conv):
    """A convolution whose weights are a length and a direction for each tap: W_i = g_i V_i / |V_i| (Salimans & Kingma
    2016, arXiv:1602.07868). [B,T,d_model] -> [B,T,d_model], zeros beyond the ends; delay right. State: as `Conv`.
    """

    def __init__(self, d_model: int, kernel: int, right: int, groups: int = 1) -> None:
        super().__init__(d_model, d_model, kernel, right=right, groups=groups)
        self.depthwise = False  # its own forward gives the weights
        self.conv = _WeightNormConv1d(d_model, d_model, kernel, groups=groups)


class _WeightNormConv1d(nn.Conv1d):
    """nn.Conv1d whose `weight` is the direction, `length` [1,1,kernel] the norm of each tap."""

    def __init__(self, d_in: int, d_out: int, kernel: int, groups: int) -> None:
        super().__init__(d_in, d_out, kernel, groups=groups)
        # of the whole kernel as wide as sqrt(4 / (kernel d)), so that the sum keeps the size of its input
        nn.init.normal_(self.weight, std=2 / (kernel * d_in) ** 0.5)
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]
        self.length = nn.Parameter(self._norm().detach())

    def _norm(self) -> Tensor:
        return self.weight.square().sum((0, 1), keepdim=True).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * (self.length / self._norm())
        return F.conv1d(x, weight, self.bias, groups=self.groups)


class ConvPosition(Serial):
    """y = gelu(conv(x)) over the `kernel` frames around each: what stands near tells where a frame is, as learned
    positions do, at any length (Mohamed et al. 2019, arXiv:1904.11660; weight-normed and grouped in wav2vec 2.0).

    Frames t - kernel//2 .. t + (kernel-1)//2. [B,T,d_model] -> [B,T,d_model]; delay (kernel-1)//2.
    """

    def __init__(self, d_model: int, kernel: int = 128, groups: int = 16) -> None:
        if d_model % groups:
            raise ValueError(f"ConvPosition: d_model={d_model} is not a multiple of groups={groups}")
        super().__init__(WeightNormConv(d_model, kernel, (kernel - 1) // 2, groups), Activation(d_model, "gelu"))
