"""The recurrences through PyTorch's own fused kernels (oneDNN's LSTM on a CPU): for long dense inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.ops.registry import tracing

__all__ = ["gru", "lstm", "refuses", "rnn", "yields"]

States = tuple[Tensor, ...]
FEW = 8  # frames of all rows


def refuses(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, state: States) -> str | None:
    if mask is not None:
        return "the kernel knows no absent frames"
    if not x.shape[0] or not x.shape[1]:
        return "there is nothing to do"
    if x.dtype != state[0].dtype:
        return "the state is wider than the input"
    return tracing()


def yields(x: Tensor, *_: object) -> str | None:
    if x.shape[0] * x.shape[1] < FEW or x.shape[1] < 2:  # it lays the weights out anew at every call
        return "for so few frames the plain cell is faster"
    return None


def lstm(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, state: States) -> tuple[Tensor, States]:
    h, c = state
    y, h, c = torch.lstm(
        x, (h[None], c[None]), _weights(x, weight, bias, torch.zeros_like(bias)), True, 1, 0.0, _train(x), False, True
    )
    return y, (h[0], c[0])


def gru(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, state: States) -> tuple[Tensor, States]:
    size = bias.shape[0] // 4
    outer = torch.cat([bias.new_zeros(2 * size), bias[3 * size :]])
    weights = _weights(x, weight, bias[: 3 * size], outer)
    y, h = torch.gru(x, state[0][None], weights, True, 1, 0.0, _train(x), False, True)
    return y, (h[0],)


def rnn(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, state: States) -> tuple[Tensor, States]:
    y, h = torch.rnn_tanh(
        x, state[0][None], _weights(x, weight, bias, torch.zeros_like(bias)), True, 1, 0.0, _train(x), False, True
    )
    return y, (h[0],)


def _train(x: Tensor) -> bool:
    """Whether a gradient may be asked for: cuDNN keeps what that takes only when told; there is no dropout here."""
    return x.is_cuda and torch.is_grad_enabled()


def _weights(x: Tensor, weight: Tensor, bias: Tensor, outer: Tensor) -> list[Tensor]:
    parts = weight[: x.shape[-1]].t(), weight[x.shape[-1] :].t()
    if x.is_cuda:  # cuDNN lays the weights out anew and takes no transposed view for it
        parts = parts[0].contiguous(), parts[1].contiguous()
    return [*parts, bias, outer]
