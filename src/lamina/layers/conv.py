"""Convolution along time, causal or with a right context, with a stride; subsampling from it."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina import ops
from lamina.core import Layer, Seq, Serial, State, StreamSpec
from lamina.core.layer import state_dtype
from lamina.layers.pointwise import Activation

__all__ = ["Conv", "Subsample"]


class Conv(Layer):
    """y_j = b + sum_i W_i x_{j*stride - (kernel-1-right) + i}, i = 0..kernel-1 (LeCun et al. 1989); bias: whether b.

    edge "pad": an output for every stride-th frame, zeros beyond the ends, ceil(T/stride) frames.
    edge "valid": outputs whose first and last tap are real, (T-kernel)//stride + 1 frames; right is kernel-1 then.
    [B,T,d_in] -> [B,T/stride,d_out]; block stride, delay max(0, ceil((right+1)/stride) - 1).
    state {"x": [B,n,d_in], "mask": [B,n]}, n = delay*stride + kernel-1-right frames.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        kernel: int,
        stride: int = 1,
        right: int = 0,
        edge: Literal["pad", "valid"] = "pad",
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if edge not in ("pad", "valid"):
            raise ValueError(f"Conv: edge is pad or valid, not {edge!r}")
        right = kernel - 1 if edge == "valid" else right
        if not 0 <= right < kernel:
            raise ValueError(f"Conv: right={right} must lie in 0..kernel-1={kernel - 1}")
        self.d_in, self.d_out, self.kernel, self.stride = d_in, d_out, kernel, stride
        self.right, self.edge = right, edge
        self.conv = nn.Conv1d(d_in, d_out, kernel, stride, groups=groups, bias=bias)
        self.depthwise = groups == d_in == d_out and stride == 1
        self.delay = max(0, -(-(right + 1) // stride) - 1)
        self.left = kernel - 1 - right
        self.history = self.delay * stride + self.left

    def stream_spec(self) -> StreamSpec:
        return StreamSpec(self.stride, Fraction(1, self.stride), self.delay)

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        like = self.like(like)
        past = Seq.absent(batch, self.history, (cast(int, self.d_in),), like.new_empty(0, dtype=state_dtype(like)))
        return {"x": past.values, "mask": past.mask}

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        frames = self.frames(x.mask.shape[1])
        behind = max(0, (frames - 1) * self.stride + self.kernel - self.left - x.mask.shape[1])
        padded = F.pad(x.zeroed(), (0, 0, self.left, behind))
        return self._convolve(padded, F.pad(x.mask, (self.left, behind)), frames)

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        past, values, frames = cast(Tensor, state["x"]), x.zeroed(), x.mask.shape[1]
        window = torch.cat([past, values.to(past.dtype)], 1)
        mask = torch.cat([cast(Tensor, state["mask"]), x.mask], 1)
        y = self._convolve(window.to(values.dtype), mask, frames // self.stride)
        return y, {"x": window[:, frames:].clone(), "mask": mask[:, frames:].clone()}

    def frames(self, n: int) -> int:
        return max(0, (n - self.kernel) // self.stride + 1) if self.edge == "valid" else -(-n // self.stride)

    def _convolve(self, window: Tensor, mask: Tensor, frames: int) -> Seq:
        """frames outputs from a window whose first frame is the first tap of the first output."""
        if not frames:
            return Seq(window.new_zeros(len(window), 0, cast(int, self.d_out)), mask[:, :0])
        reach = (frames - 1) * self.stride + 1
        window = window[:, : reach + self.kernel - 1]
        if self.depthwise:
            past, bias = self.kernel - 1, self.conv.bias
            values, _ = ops.short_conv(window[:, past:], self.conv.weight[:, 0], bias, None, window[:, :past])
        else:
            values = self.conv(window.transpose(1, 2)).transpose(1, 2)
        real = mask[:, self.left : self.left + reach : self.stride]
        if self.edge == "valid":  # left is 0: `real` is the first tap's mask
            real = real & mask[:, self.kernel - 1 : self.kernel - 1 + reach : self.stride]
        return Seq(values, real.clone())


class Subsample(Serial):
    """Strided convolutions that keep every second or fourth frame, each followed by a ReLU.

    [B,T,d_in] -> [B,ceil(T/factor),d_out]; kernel 3, causal: block factor, delay 0. State: the convolutions'.
    """

    def __init__(self, d_in: int, d_out: int, factor: Literal[2, 4] = 4) -> None:
        if factor not in (2, 4):
            raise ValueError(f"Subsample: factor is 2 or 4, not {factor}")
        layers: list[Layer] = [Conv(d_in, d_out, 3, 2), Activation(d_out, "relu")]
        if factor == 4:
            layers += [Conv(d_out, d_out, 3, 2), Activation(d_out, "relu")]
        super().__init__(*layers)
