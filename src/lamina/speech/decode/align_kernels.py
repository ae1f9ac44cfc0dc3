"""The Viterbi recursion of `align`."""

from __future__ import annotations

import numpy as np

from lamina.speech.decode.compiled import compiled

__all__ = ["viterbi"]


@compiled
def viterbi(log_p, classes, states):
    """The likeliest path over the states `classes` [2U+1], filled into states [T]; whether there is one."""
    frames, many = len(log_p), len(classes)
    came = np.zeros((frames, many), np.uint8)  # how many states back
    v, new = np.full(many, -np.inf), np.full(many, -np.inf)
    v[0], v[1] = log_p[0, classes[0]], log_p[0, classes[1]]
    for t in range(1, frames):
        for s in range(many):
            most, back = v[s], 0
            if s > 0 and v[s - 1] > most:
                most, back = v[s - 1], 1
            if s > 1 and classes[s] != 0 and classes[s] != classes[s - 2] and v[s - 2] > most:
                most, back = v[s - 2], 2
            new[s] = most + log_p[t, classes[s]]
            came[t, s] = back
        v, new = new, v
    s = many - 1 if v[many - 1] >= v[many - 2] else many - 2
    if v[s] == -np.inf:
        return False
    for t in range(frames - 1, -1, -1):
        states[t] = s
        s -= came[t, s]
    return True
