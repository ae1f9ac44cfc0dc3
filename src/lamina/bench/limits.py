"""What this machine can do at most, measured: matrix products, copies, exponentials, all in float32."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

__all__ = ["Limits", "measure"]

REPEATS = 32  # exps in a row, so that waking the threads does not count


@dataclass(frozen=True)
class Limits:
    """Rates a second: FLOPs of a large square matrix product, bytes read and written by a large copy, exps.

    All on as many threads as PyTorch has. exp_by: which vectorised exp was the fastest, torch's or NumPy's; a kernel
    whose own exp is faster still comes to more than 100 % of it.
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
def measure(side: int = 2048, copied: int = 2**26, exps: int = 2**16, seconds: float = 1.0) -> Limits:
    """side: of the square matrices; copied: floats of a copy, far above any cache; exps: floats a thread, within it.

    A limit is the fastest run seen within `seconds` for each.
    """
    a, b, product = torch.randn(3, side, side)
    source, target = torch.zeros(2, copied)
    x, y = torch.randn(2, torch.get_num_threads(), exps)
    gemm = _fastest(lambda: torch.mm(a, b, out=product), seconds)
    copy = _fastest(lambda: target.copy_(source), seconds)
    with ThreadPoolExecutor(len(x)) as pool:
        times = {
            "torch.exp": _fastest(lambda: [torch.exp(x, out=y) for _ in range(REPEATS)], seconds),
            "numpy.exp": _fastest(lambda: list(pool.map(_numpy_exps, x.numpy(), y.numpy())), seconds),
        }
    by = min(times, key=times.__getitem__)
    return Limits(2 * side**3 / gemm, 2 * 4 * copied / copy, REPEATS * x.numel() / times[by], by)


def _numpy_exps(x: np.ndarray, y: np.ndarray) -> None:
    for _ in range(REPEATS):  # NumPy holds no lock while it computes
        np.exp(x, out=y)


def _fastest(call: Callable[[], Any], seconds: float) -> float:
    """Seconds of the fastest of the calls that fit; at least three."""
    end, spent = time.perf_counter() + seconds, []
    while len(spent) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return min(spent)
