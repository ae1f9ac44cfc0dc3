"""LeNet-5 as it was published: the layers that later networks left out (LeCun, Bottou, Bengio & Haffner 1998)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Codes", "PublishedLeNet", "SubSample", "TableConv", "squash"]

# Table I: the maps of S2 that each map of C3 sees
C3 = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip
BITMAP = 7 * 12  # units of F6: a code is a small picture
SEED = 1998  # of the codes


def squash(x: Tensor) -> Tensor:
    """1.7159 tanh(2/3 x): f(1) = 1, f(-1) = -1, and the slope is greatest between."""
    return 1.7159 * torch.tanh(x * (2 / 3))


class SubSample(nn.Module):
    """y = squash(w_c * (sum of 2x2) + b_c), one coefficient and one bias a map: [B,C,F,F] -> [B,C,F/2,F/2]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, 1))
        self.bias = nn.Parameter(torch.empty(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return squash(4 * self.weight * F.avg_pool2d(x, 2) + self.bias)


class TableConv(nn.Module):
    """A convolution whose map c sees the maps table[c] of the input only: [B,C,F,F] -> [B,len(table),F',F'].

    F' = F - kernel + 1. A kernel is kept for each pair in the table, none for the others.
    """

    def __init__(self, table: tuple[tuple[int, ...], ...], kernel: int) -> None:
        super().__init__()
        self.channels_in = 1 + max(max(row) for row in table)
        pairs = [c * self.channels_in + k for c, row in enumerate(table) for k in row]
        self.register_buffer("pairs", torch.tensor(pairs), persistent=False)
        self.weight = nn.Parameter(torch.empty(len(pairs), kernel, kernel))
        self.bias = nn.Parameter(torch.empty(len(table)))

    def forward(self, x: Tensor) -> Tensor:
        every = self.weight.new_zeros(len(self.bias) * self.channels_in, *self.weight.shape[1:])
        kernels = every.index_copy(0, self.pairs, self.weight).unflatten(0, (len(self.bias), self.channels_in))
        return F.conv2d(x, kernels, self.bias)


class Codes(nn.Module):
    """Radial basis functions: minus the squared distance to a fixed code of -1 and +1 for each class.

    y_i = - sum_j (x_j - w_ij)^2                                                    [B,84] -> [B,n_classes]
    """

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        # on the CPU also where the network is counted on the meta device
        generator = torch.Generator("cpu").manual_seed(SEED)
        bits = torch.randint(0, 2, (n_classes, BITMAP), generator=generator, device="cpu")
        self.register_buffer("codes", 2.0 * bits - 1)

    def forward(self, x: Tensor) -> Tensor:
        return -(x[:, None] - self.codes).square().sum(-1)


class PublishedLeNet(nn.Module):
    """C1, S2, C3, S4, C5, F6 and the output, as in Section II.B: images [B,1,32,32] -> logits [B,n_classes].

    60,000 trainable weights: 156, 12, 1,516, 32, 48,120 and 10,164; the output has none. Differences: the codes are
    drawn from a seed (the paper draws each class as a bitmap of 7x12), and the loss is the cross-entropy of minus the
    distances, which is the paper's discriminative criterion without its constant for rubbish.
    """

    image_shape = (1, 32, 32)

    def __init__(self, n_classes: int = 10) -> None:
        super().__init__()
        self.d_in, self.d_out = self.image_shape, n_classes
        self.c1, self.s2 = nn.Conv2d(1, 6, 5), SubSample(6)  # 32 -> 28 -> 14
        self.c3, self.s4 = TableConv(C3, 5), SubSample(16)  # 14 -> 10 -> 5
        self.c5, self.f6 = nn.Conv2d(16, 120, 5), nn.Linear(120, BITMAP)  # 5 -> 1
        self.output = Codes(n_classes)
        fans = (25, 4, 25 * 4, 4, 25 * 16, 120)  # of C3's maps most see 4, the others 3 or 6
        for layer, fan_in in zip((self.c1, self.s2, self.c3, self.s4, self.c5, self.f6), fans, strict=True):
            for weight in layer.parameters():
                nn.init.uniform_(weight, -2.4 / fan_in, 2.4 / fan_in)

    def forward(self, images: Tensor) -> Tensor:
        x = self.s2(squash(self.c1(images)))
        x = self.s4(squash(self.c3(x)))
        x = squash(self.c5(x)).flatten(1)
        logits: Tensor = self.output(squash(self.f6(x)))
        return logits
