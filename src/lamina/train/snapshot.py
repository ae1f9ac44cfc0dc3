"""Snapshot: everything a training run must remember to go on bit-equal, as flat named tensors."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict as dcp

__all__ = ["restore", "take"]

WHOLE = dcp.StateDictOptions(full_state_dict=True)  # on every process


def take(accelerator: Accelerator, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Weights, optimizer moments and every process's random state; all processes must call it.

    The names are the task's own, whether the model is plain, in DDP or sharded by FSDP:
    "model.<weight>", "optim.<weight>.<moment>", "rng.<process>.<device>".
    """
    flat = {f"model.{name}": t for name, t in dcp.get_model_state_dict(model, options=WHOLE).items()}
    moments: dict[str, Any] = dcp.get_optimizer_state_dict(model, optimizer, options=WHOLE)["state"]
    for name, entries in moments.items():
        flat |= {f"optim.{name}.{key}": t for key, t in entries.items()}
    mine = {"cpu": torch.get_rng_state()}
    if accelerator.device.type == "cuda":
        mine["cuda"] = torch.cuda.get_rng_state(accelerator.device)
    everyone = gather_object([mine])
    return flat | {f"rng.{rank}.{device}": t for rank, all_of in enumerate(everyone) for device, t in all_of.items()}


def restore(
    flat: dict[str, Tensor], accelerator: Accelerator, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Puts a snapshot back into a model and an optimizer built the same way."""
    weights = {name.removeprefix("model."): t for name, t in flat.items() if name.startswith("model.")}
    dcp.set_model_state_dict(model, weights, options=WHOLE)
    moments: dict[str, dict[str, Tensor]] = {}
    for name, t in flat.items():
        if name.startswith("optim."):
            weight, key = name.removeprefix("optim.").rsplit(".", 1)
            moments.setdefault(weight, {})[key] = t
    fresh = dcp.get_optimizer_state_dict(model, optimizer, options=WHOLE)  # with moments, all 0, of every weight
    saved = {"state": moments, "param_groups": fresh["param_groups"]}
    idle = fresh["state"].keys() - moments.keys()  # not updated yet: it was another player's turn
    options = dcp.StateDictOptions(full_state_dict=True, strict=not idle)
    dcp.set_optimizer_state_dict(model, optimizer, saved, options=options)
    for name in idle:
        optimizer.state.pop(model.get_parameter(name), None)
    rank = accelerator.process_index
    torch.set_rng_state(flat[f"rng.{rank}.cpu"])
    if f"rng.{rank}.cuda" in flat and accelerator.device.type == "cuda":  # a run of a GPU may be read without one
        torch.cuda.set_rng_state(flat[f"rng.{rank}.cuda"], accelerator.device)
