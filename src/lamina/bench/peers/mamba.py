"""mambapy: Mamba in PyTorch with a parallel scan (Blelloch) that works on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lamina.bench.case import Case
from lamina.bench.peer import Peer
from lamina.layers import Mamba, RMSNorm

__all__ = ["PSCAN", "STEP"]


def _pscan(ours: Case) -> Case:
    from mambapy.mamba import MambaBlock

    def run(leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        x, dt, A, B, C, D = (leaves[n] for n in ("x", "dt", "A", "B", "C", "D"))
        return {"y": MambaBlock.selective_scan(None, x, dt, A, B, C, D)}  # the method reads no self

    return Case(ours.leaves, run)


@torch.no_grad()
def _stack_of(ours: nn.Module) -> tuple[Any, Any]:
    """mambapy's stack and a last norm with the weights of our model, whose layers have the same names."""
    from mambapy.mamba import Mamba as Stack
    from mambapy.mamba import MambaConfig
    from mambapy.mamba import RMSNorm as Norm

    mixers = [m for m in ours.modules() if isinstance(m, Mamba)]
    *norms, last = [m for m in ours.modules() if isinstance(m, RMSNorm)]
    width, eps = mixers[0].d_in, last.eps
    config = MambaConfig(d_model=width, n_layers=len(mixers), d_state=mixers[0].d_state, rms_norm_eps=eps)
    theirs, norm = Stack(config), Norm(width, eps)
    for block, mixer, before in zip(theirs.layers, mixers, norms, strict=True):
        block.mixer.load_state_dict(mixer.state_dict())
        block.norm.weight.copy_(before.weight)
    norm.weight.copy_(last.weight)
    return theirs, norm


def _step(ours: Case) -> Case:
    theirs, norm = _stack_of(ours.module)
    config = theirs.config

    def fresh() -> list[Any]:
        return [(None, torch.zeros(1, config.d_inner, config.d_conv - 1)) for _ in theirs.layers]

    def run(leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        caches, outputs = fresh(), []
        for x in leaves["x"].unbind(1):
            y, caches = theirs.step(x, caches)
            outputs.append(norm(y))
        return {"y": torch.stack(outputs, 1)}

    frame, aged = ours.leaves["x"][:, 0].detach(), fresh()

    def timed() -> None:
        nonlocal aged
        y, aged = theirs.step(frame, aged)
        norm(y)

    return Case(ours.leaves, run, timed=timed)


PSCAN = Peer("mambapy pscan", "mambapy", "mambapy", _pscan)
STEP = Peer("mambapy step", "mambapy", "mambapy", _step)
