"""Unpadded: a stack that is computed for the real frames of a ragged batch only."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from lamina.core import Layer, Packed, Parallel, Pointwise, Seq, Serial, State, StreamSpec
from lamina.core.compose import spec_of
from lamina.layers.attention import Attention
from lamina.layers.memory_attention import MemoryAttention
from lamina.ops.registry import tracing

__all__ = ["Unpadded"]


class Unpadded(Layer):
    """y = body(x), the rows of a ragged batch one behind the other: padding costs nothing (as in Zeng et al. 2022,
    arXiv:2208.08124).

    body: attention without a short convolution, attention to a memory, which is packed too, and layers of one frame,
    in any composition. [B,T,D] -> [B,T,D]; spec and state are the body's. A dense batch, and one that is being traced,
    goes through the body as it is.
    """

    def __init__(self, body: Layer) -> None:
        super().__init__()
        _packs(body, "body")
        self.body = body
        self.d_in, self.d_out = body.d_in, body.d_out
        self.takes_memory, self.d_memory = body.takes_memory, body.d_memory

    def stream_spec(self) -> StreamSpec:
        return spec_of("body", self.body)

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        self.stream_spec()
        inner = self.body.init_state(batch, like=like, memory=memory)
        return {"body": inner} if inner else {}

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        if x.dense or tracing():
            return self.body(x, memory)
        order = x.lengths()
        if memory is not None:  # rows that look into as long a memory stand together too
            order = order * (memory.mask.shape[1] + 1) + memory.lengths()
        order = order.argsort(stable=True)
        y = self.body(Packed.pack(x, order), None if memory is None else Packed.pack(memory, order))
        assert isinstance(y, Packed)
        return y.unpacked()

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        self.stream_spec()
        y, inner = self.body.step(x, cast(State, state.get("body", {})), memory)
        return y, {"body": inner} if inner else {}

    def step_rows(self, x: Seq, state: State, rows: Tensor, memory: Seq | None = None) -> Seq:
        self.stream_spec()
        return self.body.step_rows(x, cast(State, state.get("body", {})), rows, memory)

    def frames(self, n: int) -> int:
        return n


def _packs(layer: Layer, path: str) -> None:
    """Refuses a layer that would see over the end of a row."""
    if isinstance(layer, Serial | Parallel):
        for name, child in layer.children_in_order():
            _packs(child, f"{path}.{name}")
    elif isinstance(layer, Attention):
        if layer.conv is not None:
            raise ValueError(f"Unpadded: {path}: attention with a short convolution sees the row before; leave it out")
    elif not isinstance(layer, Pointwise | MemoryAttention):
        raise ValueError(f"Unpadded: {path}: {type(layer).__name__} sees several frames; only attention may")
