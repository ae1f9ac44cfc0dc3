"""Peak memory of forward and backward, seen from outside: resident pages of a fresh process, whoever allocated them.

The kernel's own high-water mark is reset before each call, so it counts PyTorch's tensors and numba's buffers alike.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

__all__ = ["peaks"]

_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def peaks(name: str, lengths: Sequence[int]) -> list[int] | str:
    """Bytes that forward and backward of an op take beyond its inputs, for each length; or why they are unknown."""
    if not _RESET.exists():
        return "the high-water mark is read from /proc, which this system has not"
    # freed blocks go back to the system at once, or an earlier length would hide a later one's need
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    worker = [sys.executable, "-m", __name__, name, str(torch.get_num_threads()), *map(str, lengths)]
    done = subprocess.run(worker, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no output"]
        return f"the process that measures it ended with {done.returncode}: {lines[-1]}"
    found: list[int] = json.loads(done.stdout)
    return found


def _worker(name: str, threads: str, *lengths: str) -> None:
    from lamina.bench.growth import GROWING

    torch.set_num_threads(int(threads))
    GROWING[name](64).case(torch.float32, None).training()()  # compiles
    found = []
    for frames in map(int, lengths):
        call = GROWING[name](frames).case(torch.float32, None).training()
        _RESET.write_text("5")  # the mark of the peak := what is resident now
        before = _kilobytes("VmRSS")
        gradients = call()
        found.append(1024 * max(0, _kilobytes("VmHWM") - before))
        del gradients
    print(json.dumps(found))


def _kilobytes(key: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1])


if __name__ == "__main__":
    _worker(*sys.argv[1:])
