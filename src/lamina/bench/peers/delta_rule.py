"""The delta rule on a CPU elsewhere: fla's chunk form in plain PyTorch, and transformers' (of Qwen3-Next)."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from lamina.bench.case import Case
from lamina.bench.peer import Peer

__all__ = ["FLA", "TRANSFORMERS"]


def _fla(ours: Case) -> Case:
    """[B,H,T,*] inputs; q is scaled by K^-0.5 inside."""
    chunkwise = file_of("fla", "ops/delta_rule/naive.py").delta_rule_chunkwise
    scale = ours.leaves["q"].shape[-1] ** 0.5
    leaves = {n: t.transpose(1, 2).contiguous() for n, t in ours.leaves.items()}
    leaves["q"] = scale * leaves["q"]
    return Case(leaves, lambda given: {"y": chunkwise(given["q"], given["k"], given["v"], given["beta"], 32)[0]})


def _transformers(ours: Case) -> Case:
    """[B,T,H,*] inputs and a log decay, here 0; q is scaled by K^-0.5 inside."""
    from transformers.models.qwen3_next.modeling_qwen3_next import torch_chunk_gated_delta_rule

    chunk = inspect.unwrap(torch_chunk_gated_delta_rule)  # without the search for GPU kernels around it
    leaves = {**ours.leaves, "q": ours.leaves["q"] * ours.leaves["q"].shape[-1] ** 0.5}
    none = torch.zeros_like(leaves["beta"]).detach()
    return Case(leaves, lambda given: {"y": chunk(given["q"], given["k"], given["v"], g=none, beta=given["beta"])[0]})


def file_of(package: str, path: str) -> ModuleType:
    """One file of an installed package without the package itself: fla's asks for Triton, which this form needs not."""
    spec = importlib.util.find_spec(package)
    where = Path(next(iter(spec.submodule_search_locations))) / path
    spec = importlib.util.spec_from_file_location(f"{package}_{where.stem}", where)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _frames_second(y: Tensor) -> Tensor:
    return y.transpose(1, 2)


FLA = Peer("fla chunk 32", "fla-core", "fla", _fla, restore=_frames_second)
TRANSFORMERS = Peer("transformers chunk 64", "transformers", "transformers", _transformers)
