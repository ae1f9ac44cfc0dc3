"""What an op must do at least, counted from its definition, and how near a time comes to the machine's own limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lamina.bench.limits import Limits

__all__ = ["Work", "delta_rule", "products", "retention", "selective_scan"]


@dataclass(frozen=True)
class Work:
    """FLOPs, exps and bytes of one call, float32, whatever the algorithm.

    flops: multiplications and additions; exps: exponentials; bytes: every input read and every output written once.
    With gradients: three times the FLOPs (each product has two gradients), twice the exps (decays are made again rather
    than kept), and every input and output once more (the gradients).
    """

    flops: float
    exps: float
    bytes: float
    formula: str

    def with_gradients(self) -> Work:
        return Work(
            3 * self.flops, 2 * self.exps, 2 * self.bytes, f"gradients: 3 flops, 2 exps, 2 bytes of: {self.formula}"
        )

    def times(self, n: int) -> Work:
        """n such calls."""
        return Work(n * self.flops, n * self.exps, n * self.bytes, f"{n} ({self.formula})")

    def least(self, limits: Limits) -> tuple[float, str]:
        """Seconds that the machine needs at its measured rates if all else is free, and what sets them."""
        needs = {
            "sgemm": self.flops / limits.flops,
            "exp": self.exps / limits.exps,
            "copy": self.bytes / limits.bytes,
        }
        what = max(needs, key=needs.__getitem__)
        return needs[what], what

    def as_dict(self) -> dict[str, Any]:
        return {"flops": self.flops, "exps": self.exps, "bytes": self.bytes, "formula": self.formula}


def selective_scan(B: int, T: int, C: int, N: int) -> Work:
    """h = exp(dt A) h + dt x B, y = C.h + D x: per b t c n an exp and 6 FLOPs, per b t c another 3."""
    frames = B * T
    return Work(
        flops=frames * C * (6 * N + 3),
        exps=frames * C * N,
        bytes=4 * (frames * (3 * C + 2 * N) + C * N + C + 2 * B * C * N),
        formula="flops B T C (6 N + 3), exps B T C N, bytes 4 (B T (3 C + 2 N) + C N + C + 2 B C N)",
    )


def retention(B: int, T: int, H: int, K: int, V: int) -> Work:
    """S += k v^T, o = S^T q: 4 K V FLOPs per frame and head; the decay goes into q and k, H exps a frame at most."""
    frames = B * T * H
    return Work(
        flops=4 * frames * K * V,
        exps=frames,
        bytes=4 * (frames * (2 * K + 2 * V) + H + 2 * B * H * K * V),
        formula="flops 4 B T H K V, exps B T H, bytes 4 (B T H (2 K + 2 V) + H + 2 B H K V)",
    )


def delta_rule(B: int, T: int, H: int, K: int, V: int) -> Work:
    """v - S^T k, S += beta k (..)^T, o = S^T q: 6 K V FLOPs per frame and head; no exp without a decay."""
    frames = B * T * H
    return Work(
        flops=6 * frames * K * V,
        exps=0,
        bytes=4 * (frames * (2 * K + 2 * V + 1) + 2 * B * H * K * V),
        formula="flops 6 B T H K V, exps 0, bytes 4 (B T H (2 K + 2 V + 1) + 2 B H K V)",
    )


def products(op: Work, frames: int, weights: int, d_in: int, state_bytes: int = 0) -> Work:
    """A layer or a stack: its ops, 2 FLOPs a frame for each weight of a matrix; weights, states, frames in and out."""
    return Work(
        flops=op.flops + 2 * frames * weights,
        exps=op.exps,
        bytes=4 * (weights + 2 * frames * d_in) + 2 * state_bytes,
        formula=f"flops 2 frames weights + ({op.formula}), bytes 4 (weights + 2 frames d_model) + 2 state",
    )
