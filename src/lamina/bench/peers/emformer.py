"""torchaudio: its Emformer (Shi et al. 2020, arXiv:2010.10759), a Transformer for streams, in segments.

Only that file of it is read, by its path: the package's compiled part wants another release of PyTorch than today's,
and the file needs nothing of it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["INSTALL", "emformer", "missing", "stream", "version"]

INSTALL = "pip install --no-deps torchaudio==2.11.0"


def missing() -> str | None:
    """The line that installs it, where it is not installed."""
    return None if importlib.util.find_spec("torchaudio") else f"torchaudio is not installed; {INSTALL}"


def version() -> str:
    return f"torchaudio {importlib.metadata.version('torchaudio')}"


def emformer(width: int, d_ff: int, n_layers: int, segment: int, left: int) -> nn.Module:
    """An Emformer of 4 heads that hears `left` frames before its segment: no memory, no frames ahead, its cheapest."""
    found = importlib.util.find_spec("torchaudio")
    assert found is not None
    assert found.submodule_search_locations
    path = Path(found.submodule_search_locations[0]) / "models" / "emformer.py"
    spec = importlib.util.spec_from_file_location("lamina_bench_emformer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    theirs: Any = module
    made: nn.Module = theirs.Emformer(width, 4, d_ff, n_layers, segment, left_context_length=left).eval()
    return made


def stream(model: Any) -> Callable[[Tensor], Tensor]:
    """A new stream of it: each call takes the next segment [1,segment,D] and gives its outputs, [1,segment,D]."""
    state, lengths = None, torch.tensor([model.segment_length])

    def step(x: Tensor) -> Tensor:
        nonlocal state
        y, _, state = model.infer(x, lengths, state)
        return y

    return step
