"""Norms: over a frame's channels (LayerNorm, RMSNorm), a row's real frames (TimeNorm), a batch's (BatchNorm)."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lamina import ops
from lamina.core import Pointwise, Seq, State, Whole

__all__ = ["BatchNorm", "LayerNorm", "RMSNorm", "TimeNorm"]


class LayerNorm(Pointwise):
    """y = (x - mean) / sqrt(var + eps) * weight + bias over the channels of a frame (Ba et al. 2016, arXiv:1607.06450).

    [B,T,D] -> [B,T,D], no state.
    """

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.d_in = self.d_out = d_model
        self.norm = nn.LayerNorm(d_model, eps)

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        return x.with_values(ops.layer_norm(x.zeroed(), self.norm.weight, self.norm.bias, self.norm.eps))


class RMSNorm(Pointwise):
    """y = x / sqrt(mean(x^2) + eps) * weight (Zhang & Sennrich 2019, arXiv:1910.07467).

    [B,T,D] -> [B,T,D], no state.
    """

    def __init__(self, d_model: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.d_in = self.d_out = d_model
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        return x.with_values(ops.rms_norm(x.zeroed(), self.weight, eps=self.eps))


class TimeNorm(Whole):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, mean and var of each channel over the row's own real frames.

    Group normalisation with a group a channel (Wu & He 2018, arXiv:1803.08494), so a row knows nothing of the batch's
    others. It does not stream: the first frame knows the last. affine=False: without weight and bias.
    [B,T,D] -> [B,T,D].
    """

    whole = ("its mean and deviation over time are known at the end of the input only",)

    def __init__(self, d_model: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        self.d_in = self.d_out = d_model
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model)) if affine else None
        self.bias = nn.Parameter(torch.zeros(d_model)) if affine else None

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        values = x.zeroed()
        wide = values.to(torch.promote_types(values.dtype, torch.float32))
        frames = x.lengths().clamp(min=1)[:, None, None]
        deviation = wide - wide.sum(1, keepdim=True) / frames
        if not x.dense:
            deviation = torch.where(x.mask[..., None], deviation, 0)
        scale = (deviation.square().sum(1, keepdim=True) / frames + self.eps).rsqrt()
        y = deviation * (scale if self.weight is None else scale * self.weight)
        return x.with_values((y if self.bias is None else y + self.bias).to(values.dtype))


class BatchNorm(Pointwise):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, mean and var of each channel (Ioffe & Szegedy 2015).

    In training over the real frames of the batch (of all processes: the sums are all-reduced), in evaluation and in
    step from the running values. [B,T,D] -> [B,T,D], no state; buffers running_mean, running_var [D] float32.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, d_model: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.d_in = self.d_out = d_model
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(d_model)), nn.Parameter(torch.zeros(d_model))
        self.register_buffer("running_mean", torch.zeros(d_model))
        self.register_buffer("running_var", torch.ones(d_model))

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        if not self.training:
            return self._normalise(x, x.zeroed(), self.running_mean, self.running_var)
        values = x.zeroed()
        wide = values.to(torch.promote_types(values.dtype, torch.float32))
        count = x.mask.sum().to(wide.dtype)
        total = _all_reduce(torch.cat([count[None], wide.sum((0, 1))]))
        frames = total[0].clamp(min=1)
        mean = total[1:] / frames
        # a second pass over the deviations: E[x^2] - E[x]^2 cancels in float32
        deviation = torch.where(x.mask[..., None], wide - mean, 0)
        var = _all_reduce(deviation.square().sum((0, 1))) / frames
        with torch.no_grad():
            some = (total[0] > 0).to(wide.dtype) * self.momentum
            unbiased = var * frames / (frames - 1).clamp(min=1)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), some.to(self.running_mean.dtype))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), some.to(self.running_var.dtype))
        return self._normalise(x, values, mean, var)

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        return self._normalise(x, x.zeroed(), self.running_mean, self.running_var), {}

    def _normalise(self, x: Seq, values: Tensor, mean: Tensor, var: Tensor) -> Seq:
        scale = self.weight * (var + self.eps).rsqrt()
        return x.with_values((values - mean) * scale + self.bias)


class _AllReduce(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs, since each of them used the total."""

    @staticmethod
    def forward(context: Any, part: Tensor) -> Tensor:
        total = part.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def _all_reduce(part: Tensor) -> Tensor:
    several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    return _AllReduce.apply(part) if several else part
