"""State trees: nested dicts of tensors, batch on dim 0. Names, bytes, hold, gather, stack, save, load."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor

from lamina.core.config import SCHEMA, UserError, check_schema
from lamina.core.layer import State

__all__ = [
    "flatten", "from_bytes", "gather", "hold", "load", "map_tensors", "names", "nbytes", "owned", "owning", "put",
    "save", "stack", "to_bytes", "unflatten",
]  # fmt: skip

_owned: ContextVar[bool] = ContextVar("lamina_owned", default=False)


def flatten(state: State, prefix: str = "") -> dict[str, Tensor]:
    """One level of dotted names: {"0": {"h": t}} -> {"0.h": t}, in tree order."""
    flat: dict[str, Tensor] = {}
    for key, value in state.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def unflatten(flat: dict[str, Tensor]) -> State:
    """The tree of dotted names."""
    state: State = {}
    for name, tensor in flat.items():
        *path, leaf = name.split(".")
        node = state
        for key in path:
            node = cast(State, node.setdefault(key, {}))
        node[leaf] = tensor
    return state


def names(state: State) -> list[str]:
    """The path of every tensor, in tree order."""
    return list(flatten(state))


def nbytes(state: State) -> int:
    """Bytes of the whole tree, all rows."""
    return sum(t.numel() * t.element_size() for t in flatten(state).values())


def map_tensors(function: Callable[..., Tensor], *states: State) -> State:
    """A new tree of function(tensors of the same path)."""
    flats = [flatten(s) for s in states]
    if any(f.keys() != flats[0].keys() for f in flats):
        raise ValueError("the states are not of the same layer: their trees differ")
    return unflatten({name: function(*(f[name] for f in flats)) for name in flats[0]})


def hold(old: State, new: State, rows: Tensor) -> State:
    """The paused rows keep their old state: rows [B] is True where a stream pauses."""

    def select(before: Tensor, after: Tensor) -> Tensor:
        return torch.where(rows.reshape(-1, *[1] * (after.dim() - 1)), before, after)

    return map_tensors(select, old, new)


def gather(state: State, rows: Tensor | Sequence[int]) -> State:
    """The rows of some streams, in that order; a row may be taken twice."""
    return map_tensors(lambda t: t[torch.as_tensor(rows, device=t.device)], state)


def put(state: State, rows: Tensor, new: State) -> None:
    """Writes the rows of `new` over those rows of a state, in place: nothing else here changes its argument."""
    for name, tensor in state.items():
        if isinstance(tensor, dict):
            put(tensor, rows, cast(State, new[name]))
        else:
            tensor.index_copy_(0, rows, cast(Tensor, new[name]))


@contextmanager
def owning() -> Iterator[None]:
    """Inside the block step may write over the states it is given: who calls it alone holds them."""
    token = _owned.set(True)
    try:
        yield
    finally:
        _owned.reset(token)


def owned() -> bool:
    """Whether step may write over the state it is given; it need not."""
    return _owned.get()


def stack(states: Sequence[State]) -> State:
    """The rows of several states, one after another."""
    if not states:
        raise ValueError("stack needs at least one state")
    return map_tensors(lambda *ts: torch.cat(ts, 0), *states)


def to_bytes(state: State) -> bytes:
    """The tree as safetensors bytes with the schema version in its header."""
    # cloned: safetensors refuses tensors that share memory, as {"h": zeros, "c": zeros} may
    flat = {k: t.detach().clone(memory_format=torch.contiguous_format) for k, t in flatten(state).items()}
    return save_bytes(flat, {"lamina_state": str(SCHEMA)})


def from_bytes(data: bytes) -> State:
    """The tree of `to_bytes`, bit-equal."""
    try:
        version = _version(data)
        check_schema(version, "saved state")
        return unflatten(load_bytes(data))
    except SafetensorError as error:
        raise UserError(f"saved state: not a safetensors file ({error}); save it again with lamina") from None


def save(state: State, path: str | Path) -> None:
    """Writes the state to a file; a temporary name first, so that a crash leaves nothing half-written."""
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(to_bytes(state))
    os.replace(part, path)


def load(path: str | Path) -> State:
    """Reads a state that `save` wrote."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; save a state there first")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if "lamina_state" not in metadata:
                raise UserError(f"{path}: not a saved state; write one with lamina.state.save")
            check_schema(_number(metadata["lamina_state"]), str(path))
            return unflatten({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file ({error}); save it again with lamina") from None


def _version(data: bytes) -> int | str | None:
    import json
    import struct

    (size,) = struct.unpack("<Q", data[:8].ljust(8, b"\0"))
    try:
        header = json.loads(data[8 : 8 + size])
    except ValueError:
        raise SafetensorError("no header") from None
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    return _number(metadata.get("lamina_state")) if isinstance(metadata, dict) else None


def _number(text: str | None) -> int | str | None:
    return int(text) if isinstance(text, str) and text.isdigit() else text
