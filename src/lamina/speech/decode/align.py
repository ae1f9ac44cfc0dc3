"""Forced alignment: the likeliest path of a whole utterance that collapses to given labels (Viterbi 1967)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from lamina.core import UserError
from lamina.speech.decode.decoder import Label, checked

__all__ = ["align"]


def align(log_p: Tensor, labels: Sequence[int]) -> list[Label]:
    """Where each label is heard: log_p [T,n_out], labels 1..n_out-1 -> one Label each, with all its frames.

        v_t(s) = max(v_{t-1}(s), v_{t-1}(s-1), [y'_s is a label and not y'_{s-2}] v_{t-1}(s-2)) p_t(y'_s)

    over y' = blank y_1 blank .. y_U blank; the path is traced back from the better of the two ends. Takes
    2 T U bytes. UserError where no path fits: too few frames, or labels that the network rules out.
    """
    from lamina.speech.decode.align_kernels import viterbi  # numba takes half a second to import

    rows = checked(log_p)
    wrong = next((label for label in labels if not 0 < label < rows.shape[1]), None)
    if wrong is not None:
        raise UserError(f"label {wrong} is none of 1..{rows.shape[1] - 1}")
    needed = len(labels) + sum(a == b for a, b in pairwise(labels))
    if len(rows) < needed:
        raise UserError(f"{len(rows)} frames cannot hold these {len(labels)} labels, which take {needed}")
    if not len(labels):
        return []
    classes = np.zeros(2 * len(labels) + 1, np.int64)
    classes[1::2] = labels
    states = np.empty(len(rows), np.int64)
    if not viterbi(rows.numpy(), classes, states):
        raise UserError(f"no path of {len(rows)} frames gives these {len(labels)} labels a probability above 0")
    p = rows[torch.arange(len(rows)), torch.from_numpy(classes[states])].exp().clamp(max=1.0)
    found = []
    for i, label in enumerate(labels):
        frames = np.flatnonzero(states == 2 * i + 1)
        first, end = int(frames[0]), int(frames[-1]) + 1
        found.append(Label(label, first, float(p[first:end].max()), end - first))
    return found
