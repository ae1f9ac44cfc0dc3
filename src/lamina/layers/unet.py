"""The parts of a U-Net over images: time as waves, norms over groups, residual blocks, attention, and the two scalings.

Images pass as [B,F,W,C], the colours of a place beside each other: convolutions are quickest so on a CPU, a norm and
attention take them as frames without a copy.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina import ops

__all__ = ["Conv3", "Down", "GroupNorm", "ImageAttention", "ResidualBlock", "TimeEmbedding", "Up"]


class TimeEmbedding(nn.Module):
    """t [B] -> [B,d_time]: waves of t as in the Transformer, then two layers (Ho et al. 2020).

    W' silu(W [sin(t w_i), cos(t w_i)]),    w_i = 10000^(-i / (C/2 - shift)),    i = 0 .. C/2 - 1
    """

    def __init__(self, waves: int, d_time: int, shift: float) -> None:
        super().__init__()
        self.waves, self.shift = waves, shift
        self.first = nn.Linear(waves, d_time)
        self.second = nn.Linear(d_time, d_time)

    def forward(self, t: Tensor) -> Tensor:
        half, weight = self.waves // 2, self.first.weight
        wide = torch.promote_types(weight.dtype, torch.float32)
        i = torch.arange(half, dtype=wide, device=t.device)
        angle = t[:, None].to(wide) * torch.exp(-log(10000) * i / (half - self.shift))
        y: Tensor = self.second(F.silu(self.first(torch.cat([angle.sin(), angle.cos()], -1).to(weight.dtype))))
        return y


class GroupNorm(nn.Module):
    """Norm over all places and the channels of a group (Wu & He 2018, arXiv:1803.08494), with a SiLU behind it or none.

    [B,F,W,C] -> the same. shift [B,C] is added to the input first. weight and bias [C].
    """

    def __init__(self, channels: int, n_groups: int, eps: float, silu: bool = True) -> None:
        super().__init__()
        self.n_groups, self.eps, self.silu = n_groups, eps, silu
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        return ops.group_norm(x, self.weight, self.bias, shift, self.n_groups, self.eps, self.silu)


class Conv3(nn.Conv2d):
    """Convolution 3x3 of [B,F,W,C] -> [B,F/stride,W/stride,C'], zeros around it.

    end: the zeros of a stride of 2 stand behind the last row and column alone, as in the published network.
    """

    def __init__(self, d_in: int, d_out: int, stride: int = 1, end: bool = False) -> None:
        super().__init__(d_in, d_out, 3, stride, padding=0 if end else 1)
        self.end = end
        self.to(memory_format=torch.channels_last)  # as the images are: else each call would turn the weights

    def forward(self, x: Tensor) -> Tensor:
        if self.end:
            x = F.pad(x, (0, 0, 0, 1, 0, 1))
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ResidualBlock(nn.Module):
    """y = S x + conv(drop(silu(norm(conv(silu(norm(x))) + shift)))): [B,F,W,C] and shift [B,C'] -> [B,F,W,C'].

    S is 1, or a matrix where the number of channels changes. shift says what time it is, and of which class.
    """

    def __init__(self, d_in: int, d_out: int, n_groups: int, eps: float, dropout: float) -> None:
        super().__init__()
        self.d_out = d_out
        self.norm1, self.conv1 = GroupNorm(d_in, n_groups, eps), Conv3(d_in, d_out)
        self.norm2, self.conv2 = GroupNorm(d_out, n_groups, eps), Conv3(d_out, d_out)
        self.dropout = nn.Dropout(dropout)
        self.skip = nn.Identity() if d_in == d_out else nn.Linear(d_in, d_out)
        nn.init.zeros_(self.conv2.weight)  # at first a block is its skip

    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        y = self.norm2(self.conv1(self.norm1(x)), shift)
        z: Tensor = self.skip(x) + self.conv2(self.dropout(y))
        return z


class ImageAttention(nn.Module):
    """y = x + W attention(norm(x)): every place over all places, in heads of d_head. [B,F,W,C] -> the same."""

    def __init__(self, channels: int, d_head: int | None, n_groups: int, eps: float) -> None:
        super().__init__()
        self.d_head = d_head or channels
        self.norm = GroupNorm(channels, n_groups, eps, silu=False)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        frames = self.norm(x).flatten(1, 2)
        q, k, v = self.qkv(frames).unflatten(-1, (3, -1, self.d_head)).unbind(2)
        y: Tensor = x + self.out(ops.attention(q, k, v).flatten(2)).view_as(x)
        return y


class Down(Conv3):
    """Half of the rows and columns by a convolution 3x3 at steps of 2: [B,F,W,C] -> [B,F/2,W/2,C]."""

    def __init__(self, channels: int, end: bool) -> None:
        super().__init__(channels, channels, 2, end)


class Up(Conv3):
    """Twice the rows and columns: each place four times, then a convolution 3x3. [B,F,W,C] -> [B,2F,2W,C].

    Of three taps in a row two meet the same place, so that 2x2 sums of weights over the small image do all, for each of
    the four places that one becomes:    row 2i: w0 x[i-1] + (w1 + w2) x[i],    row 2i+1: (w0 + w1) x[i] + w2 x[i+1].
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)
        one = torch.tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], dtype=torch.float32)  # [place, tap, w]
        self.register_buffer("sums", torch.einsum("apu,bqv->abpquv", one, one).reshape(16, 9), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        b, f, w, c = x.shape
        taps = self.weight.permute(0, 2, 3, 1).flatten(1, 2)  # [C,9,C]
        sums = torch.matmul(self.sums, taps).view(c, 4, 2, 2, c)  # type: ignore[call-overload]
        weight = sums.transpose(0, 1).reshape(4 * c, 2, 2, c).permute(0, 3, 1, 2)
        bias = None if self.bias is None else self.bias.repeat(4)
        z = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1).permute(0, 2, 3, 1).contiguous()
        # place (a, b) of i, j stands at z[i + a, j + b]
        row, one, group = (w + 1) * 4 * c, 4 * c, c
        sizes, steps = (b, f, 2, w, 2, c), ((f + 1) * row, row, row + 2 * group, one, one + group, 1)
        return z.as_strided(sizes, steps).reshape(b, 2 * f, 2 * w, c)
