"""The ops at the sizes of the table: inputs, the definition in pieces, least work, and what is aimed at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lamina import ops
from lamina.bench import work
from lamina.bench.case import Case
from lamina.bench.peers import delta_rule as delta_peers
from lamina.bench.peers import mamba, torchscale
from lamina.bench.row import Row, Target
from lamina.bench.work import Work

__all__ = ["delta_rule_row", "op_rows", "retention_row", "selective_scan_row"]

Inputs = dict[str, Tensor]


def selective_scan_row(B: int, T: int, C: int, N: int, targets: dict[str, Target]) -> Row:
    """Steps of 1e-3 to 1e-1 and A = -1 .. -N, as Mamba starts with (Gu & Dao 2023)."""

    def inputs(random: torch.Generator) -> Inputs:
        return {
            "x": torch.randn(B, T, C, generator=random),
            "dt": 10 ** (-3 + 2 * torch.rand(B, T, C, generator=random)),
            "A": -torch.arange(1.0, N + 1).repeat(C, 1),
            "B": torch.randn(B, T, N, generator=random),
            "C": torch.randn(B, T, N, generator=random),
            "D": torch.ones(C),
        }

    count = work.selective_scan(B, T, C, N)
    case = _case(ops.selective_scan, inputs, ("x", "dt", "B", "C"))
    return Row("selective_scan", f"B{B} L{T} C{C} N{N}", case, (mamba.PSCAN,), _both(count), targets)


def delta_rule_row(B: int, T: int, H: int, d: int, targets: dict[str, Target]) -> Row:
    """Keys of length 1, beta in 0..1, no decay."""

    def inputs(random: torch.Generator) -> Inputs:
        q, k, v = torch.randn(3, B, T, H, d, generator=random)
        return {"q": q / d**0.5, "k": normalize(k, dim=-1), "v": v, "beta": torch.rand(B, T, H, generator=random)}

    case = _case(ops.delta_rule, inputs, ("q", "k", "v", "beta"))
    count = work.delta_rule(B, T, H, d, d)
    return Row(
        "delta_rule", f"B{B} L{T} H{H} d{d}", case, (delta_peers.FLA, delta_peers.TRANSFORMERS), _both(count), targets
    )


def retention_row(B: int, T: int, H: int, d: int, targets: dict[str, Target]) -> Row:
    """The fixed decays of RetNet, 1 - 2^(-5-h); their gradient is gated but not timed, since no peer has it."""

    def inputs(random: torch.Generator) -> Inputs:
        q, k, v = torch.randn(3, B, T, H, d, generator=random)
        return {"q": q / d**0.5, "k": k, "v": v, "log_decay": torchscale.log_decay(H)}

    case = _case(ops.retention, inputs, ("q", "k", "v"), fixed=frozenset({"log_decay"}))
    count = work.retention(B, T, H, d, d)
    return Row("retention", f"B{B} L{T} H{H} K{d} V{d}", case, (torchscale.CHUNKWISE_OP,), _both(count), targets)


def _both(count: Work) -> dict[str, Work]:
    return {"forward": count, "forward+backward": count.with_gradients()}


def _case(
    op: Callable[..., tuple[Tensor, Tensor]],
    inputs: Callable[[torch.Generator], Inputs],
    framed: tuple[str, ...],
    fixed: frozenset[str] = frozenset(),
) -> Callable[[torch.dtype, int | None], Case]:
    """The op on seeded inputs, the same numbers in every dtype; framed: the inputs that have a frame axis."""

    def run(leaves: Inputs) -> dict[str, Any]:
        y, state = op(**leaves)
        return {"y": y, "state": state}

    def run_in_pieces(leaves: Inputs, piece: int) -> dict[str, Any]:
        pieces = zip(*(leaves[n].split(piece, 1) for n in framed), strict=True)
        state, outputs = None, []
        for parts in pieces:
            y, state = op(**{**leaves, **dict(zip(framed, parts, strict=True))}, state=state)
            outputs.append(y)
        return {"y": torch.cat(outputs, 1), "state": state}

    def case(dtype: torch.dtype, piece: int | None = None) -> Case:
        leaves = {n: t.to(dtype) for n, t in inputs(torch.Generator().manual_seed(0)).items()}
        return Case(leaves, run if piece is None else lambda given: run_in_pieces(given, piece), fixed)

    return case


def op_rows() -> tuple[Row, ...]:
    scan = {"forward": Target(12, 25), "forward+backward": Target(10, 20)}
    retention = {"forward": Target(2, 4), "forward+backward": Target(2, 4)}
    return (
        selective_scan_row(4, 512, 512, 16, scan),
        selective_scan_row(4, 2048, 512, 16, scan),
        delta_rule_row(4, 512, 4, 64, {"forward": Target(2, 4), "forward+backward": Target(2.5, 5)}),
        delta_rule_row(4, 2048, 4, 64, {"forward": Target(3, 6), "forward+backward": Target(4, 8)}),
        retention_row(4, 512, 4, 64, retention),
        retention_row(4, 2048, 4, 64, retention),
    )
