"""Decoder: frames of log-probabilities in, labels out as soon as they are final; the state is a value."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lamina.core import UserError

__all__ = ["Decoder", "DecoderState", "Label", "checked"]

DecoderState = dict[str, Tensor]
"""Named tensors of constant shapes and dtypes."""


@dataclass(frozen=True)
class Label:
    """A label that was heard: 1..n_out-1, from `frame` on, counted from the start of the stream, for `frames` of them.

    confidence: the network's highest probability for it in those frames, 0..1. A decoder that sums over alignments
    names one frame, the likeliest.
    """

    label: int
    frame: int
    confidence: float
    frames: int = 1


class Decoder(ABC):
    """Labels of a stream of log-probabilities [T,n_out]; class 0 is the blank.

    step gives the labels that have become final and a new state, and leaves the old one alone; pending gives the
    likeliest continuation, which later frames may still change; finish the same as final, at the end. For every split
    of the frames into steps, also into none, the labels of all steps and of finish together are the same.
    """

    @abstractmethod
    def init_state(self) -> DecoderState:
        """Before the first frame."""

    @abstractmethod
    def step(self, log_p: Tensor, state: DecoderState) -> tuple[list[Label], DecoderState]:
        """log_p [T,n_out], T >= 0 -> the labels that are final now, and the state behind those frames."""

    @abstractmethod
    def pending(self, state: DecoderState) -> list[Label]:
        """The likeliest labels behind the final ones."""

    @abstractmethod
    def settled(self, state: DecoderState) -> int:
        """A frame before which no label lies that is not final yet, nor will."""

    @abstractmethod
    def finish(self, state: DecoderState) -> list[Label]:
        """The labels behind the final ones, if no frame follows."""

    def settings(self) -> tuple[object, ...]:
        """Numbers, arrays and tuples of them that say what its states mean."""
        return ()

    @cached_property
    def digest(self) -> str:
        """A hash of its class and settings: states are resumed by equals alone."""
        total = hashlib.sha256()
        _hash(total, (type(self).__name__, self.settings()))
        return total.hexdigest()[:16]

    def step_each(self, log_p: Tensor, states: Sequence[DecoderState]) -> Sequence[tuple[list[Label], DecoderState]]:
        """step of several streams, log_p [R,T,n_out]."""
        return [self.step(one, state) for one, state in zip(log_p, states, strict=True)]

    def whole(self, log_p: Tensor) -> list[Label]:
        """All labels of a whole utterance [T,n_out]."""
        found, state = self.step(log_p, self.init_state())
        return found + self.finish(state)


def _hash(total: hashlib._Hash, one: object) -> None:
    if isinstance(one, tuple):
        total.update(f"({len(one)})".encode())
        for part in one:
            _hash(total, part)
    elif isinstance(one, np.ndarray):
        total.update(f"{one.dtype}{one.shape}".encode())
        total.update(np.ascontiguousarray(one))
    else:
        total.update(f"{one!r};".encode())


def checked(log_p: Tensor, n_out: int | None = None) -> Tensor:
    """log_p [T,n_out] of one stream on the CPU in float64; UserError where it holds no log-probabilities."""
    if log_p.dim() != 2 or log_p.shape[1] != (n_out or log_p.shape[1]) or log_p.shape[1] < 2:
        wanted = f"[T,{n_out or 'n_out'}]"
        raise UserError(f"log-probabilities of shape {list(log_p.shape)} do not fit {wanted}; give one stream's")
    rows = log_p.detach().to("cpu", torch.float64).contiguous()
    most = rows.amax(1)  # NaN wherever a row holds one
    good = (most <= 1e-2) & (most > -torch.inf)
    if not bool(good.all()):
        t = int((~good).nonzero()[0])
        raise UserError(
            f"frame {t} of {len(rows)}: its largest value is {float(most[t]):g}, which is no log-probability; "
            "give the network's output through log_softmax"
        )
    return rows
