"""What this machine can do at most, measured: matrix products, copies, exponentials, all in float32."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

__all__ = ["Limits", "measure"]


@dataclass(frozen=True)
class Limits:
    """Rates a second: FLOPs of a large square matrix product, bytes read and written by a large copy, exps.

    exp_by: which vectorised exp was the fastest, torch's (all threads) or NumPy's (one).
    """

    flops: float
    bytes: float
    exps: float
    exp_by: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "sgemm_gflops": round(self.flops / 1e9, 2),
            "copy_gb_s": round(self.bytes / 1e9, 2),
            "exp_g_s": round(self.exps / 1e9, 3),
            "exp_by": self.exp_by,
        }


@torch.no_grad()
def measure(side: int = 2048, copied: int = 2**26, exps: int = 2**17, seconds: float = 1.0) -> Limits:
    """side: of the square matrices; copied: floats of a copy, far above any cache; exps: floats that stay in the cache.

    A limit is the fastest run seen within `seconds` for each.
    """
    a, b, product = torch.randn(3, side, side)
    source, target = torch.zeros(2, copied)
    x, y = torch.randn(2, exps)
    x_np, y_np = x.numpy(), y.numpy()
    gemm = _fastest(lambda: torch.mm(a, b, out=product), seconds)
    copy = _fastest(lambda: target.copy_(source), seconds)
    times = {
        "torch.exp": _fastest(lambda: torch.exp(x, out=y), seconds),
        "numpy.exp": _fastest(lambda: np.exp(x_np, out=y_np), seconds),
    }
    by = min(times, key=times.__getitem__)
    return Limits(2 * side**3 / gemm, 2 * 4 * copied / copy, exps / times[by], by)


def _fastest(call: Callable[[], Any], seconds: float) -> float:
    """Seconds of the fastest of the calls that fit; at least three."""
    end, spent = time.perf_counter() + seconds, []
    while len(spent) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return min(spent)
