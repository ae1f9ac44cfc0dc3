"""The correctness gate: no time is given for something that computes something else.

Ours is judged by the policy against the definition in float64: for outputs, states and all gradients the error must be
<= 4 * max(the definition's own error in float32, eps * max|truth|). A peer must agree with ours to within BOUND of the
largest value: enough to know that both compute the same formula, loose enough for a peer that rounds more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from lamina import ops
from lamina.bench.case import Case
from lamina.bench.peer import Peer
from lamina.core.check.policy import difference, tolerance

__all__ = ["BOUND", "Agreement", "Verdict", "agreement", "judge"]

BOUND = 1e-3  # of the largest value, for peers
PIECE = 8  # frames; every frame's slice has a gradient as long as its piece


@dataclass(frozen=True)
class Verdict:
    """The policy on one case: the tensor that came nearest to its bound, or beyond it."""

    tensor: str
    error: float
    allowed: float

    @property
    def share(self) -> float:
        """The error in units of what is allowed."""
        return self.error / self.allowed if self.allowed else (torch.inf if self.error else 0.0)

    @property
    def red(self) -> str | None:
        if self.error <= self.allowed:
            return None
        return f"{self.tensor} differs from the definition in float64 by {self.error:.3g}, {self.allowed:.3g} allowed"

    def as_dict(self) -> dict[str, Any]:
        error = self.error if isfinite(self.error) else None  # JSON has no inf
        return {"red": self.red, "tensor": self.tensor, "error": error, "allowed": self.allowed}


@dataclass(frozen=True)
class Agreement:
    """A peer beside ours: the largest difference over the largest value, and of which tensor."""

    tensor: str
    difference: float

    @property
    def reason(self) -> str | None:
        if self.difference <= BOUND:
            return None
        return f"{self.tensor} differs from ours by {self.difference:.1e} of the largest value, {BOUND:g} allowed"


def judge(case: Callable[[torch.dtype, int | None], Case], *, gradients: bool) -> Verdict:
    """Ours in float32, with a graph and without one, against the definition in float64 and float32."""
    ours = case(torch.float32, None)
    runs = [_results(ours, gradients=False), *([_results(ours, gradients=True)] if gradients else [])]
    with ops.use("ref"):
        truth = _results(case(torch.float64, PIECE), gradients=gradients)
        ref = _results(case(torch.float32, PIECE), gradients=gradients)
    # the gradients of one loss are one vector: a part that cancels has the rounding of its summands
    largest = max((float(t.abs().max()) for n, t in truth.items() if n.startswith("grad")), default=0.0)
    found = []
    for name, wanted in truth.items():
        allowed = tolerance(wanted, ref[name], torch.float32, largest=largest if name.startswith("grad") else 0.0)
        sound = bool(wanted.isfinite().all() and ref[name].isfinite().all())
        error = max(_apart(got[name], wanted) for got in runs if name in got)
        found.append(Verdict(name, error if sound else torch.inf, allowed))
    return max(found, key=lambda verdict: verdict.share)


def agreement(ours: Case, peer: Peer, *, gradients: bool) -> Agreement:
    """The peer's output and gradients, taken back through its layout, beside ours."""
    mine, theirs = ours.fresh(), ours.fresh()
    made = (peer.alone or peer.case)(Case(theirs, ours.run, ours.fixed, ours.module, ours.timed))
    y, y_peer = ours.run(mine)["y"], peer.restore(made.run(made.leaves)["y"])
    pairs = {"y": (peer.alike(y), peer.alike(y_peer))}
    if gradients:
        seed = _random(pairs["y"][0].shape, 1)
        of = [n for n in mine if n not in ours.fixed]
        a = torch.autograd.grad(pairs["y"][0], [mine[n] for n in of], seed)
        b = torch.autograd.grad(pairs["y"][1], [theirs[n] for n in of], seed)
        pairs |= {f"gradient of {n}": pair for n, pair in zip(of, zip(a, b, strict=True), strict=True)}
    sizes = {n: _apart(b, a) / max(_largest(a.abs()), 1e-30) for n, (a, b) in pairs.items()}
    worst = max(sizes, key=sizes.__getitem__)
    return Agreement(worst, sizes[worst])


def _results(case: Case, *, gradients: bool) -> dict[str, Tensor]:
    """Outputs, and the gradients of one random loss of all of them; NaN where the graph ends before the leaf."""
    leaves = case.fresh()
    if not gradients:
        with torch.no_grad():
            return case.run(leaves)
    outputs = case.run(leaves)
    seeded = [(t, _random(t.shape, i).to(t.dtype)) for i, t in enumerate(outputs.values()) if t.requires_grad]
    wanted = {**leaves, **case.weights}
    found: Sequence[Tensor | None] = [None] * len(wanted)
    if seeded:
        graph, seeds = zip(*seeded, strict=True)
        found = torch.autograd.grad(graph, list(wanted.values()), seeds, allow_unused=True)
    gradients_of = {
        f"gradient of {name}": torch.full_like(leaf, torch.nan) if gradient is None else gradient
        for (name, leaf), gradient in zip(wanted.items(), found, strict=True)
    }
    return {name: t.detach() for name, t in outputs.items()} | gradients_of


def _random(shape: torch.Size, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _apart(a: Tensor, b: Tensor) -> float:
    return _largest(difference(a, b)) if a.shape == b.shape else torch.inf


def _largest(t: Tensor) -> float:
    return float(t.detach().max()) if t.numel() else 0.0
