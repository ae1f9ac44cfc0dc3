"""Prefix beam search: the likeliest labelling, its alignments summed, heard frame by frame (Graves et al. 2006, 3.2).

The search is that of Hannun, Maas, Jurafsky & Ng (2014, arXiv:1408.2873), with a tree of hypotheses as the state.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.core import UserError
from lamina.speech.decode.decoder import Decoder, DecoderState, Label, checked
from lamina.speech.decode.fusion import NOTHING, Fusion

__all__ = ["PrefixBeam"]

NODES = 16  # of the tree for each hypothesis


class PrefixBeam(Decoder):
    """The `beam` likeliest prefixes of every frame, each with the probability of all paths that collapse to it.

        blank'(l) = (blank(l) + label(l)) p(blank)
        label'(l) = label(l) p(c) + (blank(k) + [c is not k's last label] label(k)) p(c)    where l = k c

    The paths that end in the blank are kept apart from those that end in the label, so nothing is lost but what leaves
    the beam: one wide enough for all prefixes finds the most probable labelling. What all hypotheses begin with is
    final. So is what the likeliest one heard `wait` frames ago, and its next label whenever the tree of hypotheses is
    full at 16 nodes each: then the others are dropped.

    step   [T,n_out]; with a `fusion` the labels considered in a frame are the 64 likeliest, or more in a wider beam
    state  {"nodes": int32 [16 beam,8], "reals": float64 [16 beam,2], "live": int32 [beam], "mass": float64 [beam,2],
           "at": int64 [6]}: 788 beam + 48 bytes a stream, whatever its age (25 KB at beam 32)

    Args: n_out, with the blank; beam; fusion: a language model and hot words; wait, in frames.
    """

    def __init__(self, n_out: int, beam: int = 32, *, fusion: Fusion | None = None, wait: int = 100) -> None:
        for name, value, least in (("n_out", n_out, 2), ("beam", beam, 1), ("wait", wait, 1)):
            if value < least:
                raise UserError(f"PrefixBeam: {name} {value}; give at least {least}")
        if fusion is not None and len(fusion.units.pieces) != n_out - 1:
            raise UserError(
                f"PrefixBeam: the fusion has {len(fusion.units.pieces)} units, the network {n_out - 1} labels beside "
                "the blank; give the recogniser's own units"
            )
        self.n_out, self.beam, self.fusion, self.wait = n_out, beam, fusion, wait
        self._tables = NOTHING if fusion is None else fusion.tables()

    def settings(self) -> tuple[object, ...]:
        return self.n_out, self.beam, self.wait, self._tables

    def init_state(self) -> DecoderState:
        nodes = np.full((NODES * self.beam, 8), -2, np.int32)
        nodes[:-1, 3] = np.arange(1, len(nodes))  # the free nodes are a chain; node 0 is the empty prefix
        nodes[0] = (-1, 0, -1, -1, 0, 0, 0 if self.fusion is None else self.fusion.start, 0)
        mass = np.zeros((self.beam, 2))
        mass[0, 0] = 1.0
        return _tensors(
            (
                nodes,
                np.zeros((len(nodes), 2)),
                np.zeros(self.beam, np.int32),
                mass,
                np.array([1, 0, 1, len(nodes) - 1, 0, 0]),
            )
        )

    def step(self, log_p: Tensor, state: DecoderState) -> tuple[list[Label], DecoderState]:
        rows = checked(log_p, self.n_out).numpy()
        beam = _kernels().Beam(*(one.copy() for one in _arrays(state)))
        final, heard = self._room(len(rows) + len(beam.nodes))
        n = _kernels().search(beam, self._tables, rows, self.wait, final, heard)
        if n < 0:
            raise UserError(f"frame {-1 - n} of {len(rows)} leaves no hypothesis: alpha, beta or bonus is too large")
        return _labels(final, heard, n), _tensors(beam)

    def pending(self, state: DecoderState) -> list[Label]:
        beam = _kernels().Beam(*_arrays(state))
        return self._traced(beam, beam.live[0])

    def settled(self, state: DecoderState) -> int:
        return int(_kernels().first(_kernels().Beam(*_arrays(state))))

    def finish(self, state: DecoderState) -> list[Label]:
        beam = _kernels().Beam(*_arrays(state))
        return self._traced(beam, _kernels().best(beam, self._tables))

    def _traced(self, beam: Any, node: int) -> list[Label]:
        final, heard = self._room(len(beam.nodes))
        return _labels(final, heard, _kernels().trace(beam, node, final, heard))

    def _room(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        return np.empty((n, 2), np.int64), np.empty(n)


@cache
def _kernels() -> Any:
    from lamina.speech.decode import kernels  # numba takes half a second to import

    return kernels


def _arrays(state: DecoderState) -> list[np.ndarray]:
    return [state[name].numpy() for name in ("nodes", "reals", "live", "mass", "at")]


def _tensors(beam: Any) -> DecoderState:
    return {
        name: torch.from_numpy(one) for name, one in zip(("nodes", "reals", "live", "mass", "at"), beam, strict=True)
    }


def _labels(final: np.ndarray, heard: np.ndarray, n: int) -> list[Label]:
    return [
        Label(label, frame, min(p, 1.0))
        for (label, frame), p in zip(final[:n].tolist(), heard[:n].tolist(), strict=True)
    ]
