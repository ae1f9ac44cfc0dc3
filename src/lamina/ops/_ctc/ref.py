"""The CTC loss as its definition: the forward recursion in log space, frame after frame, in the dtype of the inputs."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ctc_loss"]

NEVER = -1e30  # log of a path that cannot be: finite, for the gradient of logsumexp over -inf alone is NaN


def ctc_loss(x: Tensor, y: Tensor, lengths: Tensor, n_labels: Tensor) -> Tensor:
    """With y' = blank y_1 blank y_2 .. y_U blank, and a_t(s) the sum over all paths of t frames that end in y'_s:

    a_t(s) = (a_{t-1}(s) + a_{t-1}(s-1) + [y'_s is a label and not y'_{s-2}] a_{t-1}(s-2)) p_t(y'_s)
    p(y) = a_T(2U) + a_T(2U-1),    a_0(0) = 1 before the first frame
    """
    log_p = x.log_softmax(-1)
    rows, states = torch.arange(len(x), device=x.device), 2 * y.shape[1] + 1
    classes = y.new_zeros(len(x), states)
    classes[:, 1::2] = y
    jumps = torch.zeros_like(classes, dtype=torch.bool)
    jumps[:, 2:] = (classes[:, 2:] != 0) & (classes[:, 2:] != classes[:, :-2])
    never = log_p.new_full((len(x), states), NEVER)
    log_a = never.index_fill(1, rows.new_zeros(1), 0.0)
    begun = never[:, :1]
    for t in range(x.shape[1]):
        one = torch.cat([begun, log_a[:, :-1]], 1)
        two = torch.cat([begun, begun, log_a[:, :-2]], 1)[:, :states].where(jumps, NEVER)
        ways = torch.stack([log_a, one, two]).logsumexp(0)
        log_a = torch.where((t < lengths)[:, None], ways + log_p[:, t].gather(1, classes), log_a)
    last = 2 * n_labels
    ends = torch.stack([log_a[rows, last], log_a[rows, (last - 1).clamp(0)].where(n_labels > 0, NEVER)])
    total = ends.logsumexp(0)
    return torch.where(total > NEVER / 2, -total, torch.inf)
