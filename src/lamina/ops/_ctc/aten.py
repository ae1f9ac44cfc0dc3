"""The CTC loss through PyTorch's own kernels.

In float64: the kernel's gradient is exp(a + b - log p), whose terms grow with the frames while their sum does not. In
float32 it lost 7 times what the definition loses over 60 frames. The kernel is a small part of a training step.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.ops.registry import tracing

__all__ = ["ctc_loss", "refuses"]


def refuses(x: Tensor, y: Tensor, lengths: Tensor, n_labels: Tensor) -> str | None:
    if not x.numel() or not y.shape[1]:
        return "the kernel takes no empty tensors"
    return tracing()


def ctc_loss(x: Tensor, y: Tensor, lengths: Tensor, n_labels: Tensor) -> Tensor:
    log_p = x.double().log_softmax(-1).transpose(0, 1)
    # zero_infinity: the kernel's gradient of a row without a path is NaN, and 0 * NaN would stay so
    loss = F.ctc_loss(log_p, y, lengths, n_labels, reduction="none", zero_infinity=True)
    if bool((loss != 0).all()):
        return loss.to(x.dtype)
    # a 0 is a certain row or one without a path: without zero_infinity the kernel tells which
    with torch.no_grad():
        truth = F.ctc_loss(log_p, y, lengths, n_labels, reduction="none")
    return torch.where(truth == torch.inf, torch.inf, loss).to(x.dtype)
