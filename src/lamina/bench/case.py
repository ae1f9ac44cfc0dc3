"""What a benchmark runs: leaves in, named outputs out; forward alone, or with its gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Case"]


@dataclass(frozen=True)
class Case:
    """run(leaves) gives named outputs, "y" among them.

    leaves: the inputs that have gradients; those in `fixed` only in the gate, not when timed (no peer gives them).
    module: whose weights have gradients too. timed: what is timed instead of run, for steps. of: the outputs whose
    gradients are timed.
    """

    leaves: dict[str, Tensor]
    run: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    fixed: frozenset[str] = field(default_factory=frozenset)
    module: nn.Module | None = None
    timed: Callable[[], Any] | None = None
    of: tuple[str, ...] = ("y",)

    @property
    def weights(self) -> dict[str, Tensor]:
        return dict(self.module.named_parameters()) if self.module else {}

    def fresh(self, all_leaves: bool = True) -> dict[str, Tensor]:
        """The leaves once more, as the start of a new graph."""
        return {n: t.detach().clone().requires_grad_(all_leaves or n not in self.fixed) for n, t in self.leaves.items()}

    def forward(self) -> Callable[[], Any]:
        """The call without gradients, ready to be timed."""
        leaves = {n: t.detach() for n, t in self.leaves.items()}

        def call() -> Any:
            with torch.no_grad():
                return self.timed() if self.timed else self.run(leaves)

        return call

    def training(self) -> Callable[[], Any]:
        """Forward and the gradients of all leaves that are not fixed and of all weights, ready to be timed."""
        leaves = self.fresh(all_leaves=False)
        wanted = [t for t in (*leaves.values(), *self.weights.values()) if t.requires_grad]
        with torch.no_grad():
            seeds = [torch.randn_like(self.run(leaves)[name]) for name in self.of]

        def call() -> Any:
            outputs = self.run(leaves)
            return torch.autograd.grad([outputs[name] for name in self.of], wanted, seeds)

        return call
