"""The machine and the versions that a figure was measured with."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

import lamina

__all__ = ["cores", "environment"]


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment() -> dict[str, Any]:
    """What stands beside every measured number."""
    return {
        "cpu": _cpu(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_initialized() else {}),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "lamina": lamina.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
