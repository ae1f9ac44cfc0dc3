"""Traps beyond the table of known ones, so that no law goes untried."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lamina.core import Seq, StreamSpec
from lamina.core.layer import state_dtype
from trap_layers import Ahead, Base, MeanNorm


class TooLong(Base):
    """Says one frame more than it gives."""

    def frames(self, n: int) -> int:
        return n if self.right else n + 1

    def step(self, x: Seq, state, memory=None):
        return x.with_values(x.zeroed() @ self.weight), {}


class Peeks(Ahead):
    """A lookahead of one frame that is not declared."""

    def stream_spec(self) -> StreamSpec:
        return StreamSpec(delay=1 if self.right else 0)


class WaitsTooLong(Ahead):
    """A delay of two frames declared, one needed."""

    def stream_spec(self) -> StreamSpec:
        return StreamSpec(delay=1 if self.right else 2)


class SharedClock(Base):
    """x W + sin(position); wrong: all rows read the first row's clock."""

    def init_state(self, batch, *, like=None, memory=None):
        return {"position": self.zeros(batch, like=like, dtype=torch.long)}

    def step(self, x: Seq, state, memory=None):
        start = state["position"] if self.right else state["position"].max().expand(len(x.mask))
        position = start[:, None] + x.mask.long().cumsum(1) - 1
        y = x.zeroed() @ self.weight + position[..., None].to(x.values.dtype).sin()
        return x.with_values(y), {"position": state["position"] + x.mask.sum(1)}


class KeptByAddress(Base):
    """The running sum; wrong: it is kept in the layer, found by the address of the state's tensor."""

    def __init__(self, right: bool = True) -> None:
        super().__init__(right)
        self.kept: dict[int, Tensor] = {}

    def init_state(self, batch, *, like=None, memory=None):
        return {"sum": self.zeros(batch, 4, like=like)}

    def step(self, x: Seq, state, memory=None):
        total = state["sum"] if self.right else self.kept.get(state["sum"].data_ptr(), state["sum"])
        sums = total[:, None] + torch.cumsum(x.zeroed() @ self.weight, 1)
        new = sums[:, -1].to(state_dtype(x.values))
        if self.right:
            return x.with_values(sums.to(x.values.dtype)), {"sum": new}
        handle = torch.zeros_like(new)
        self.kept[handle.data_ptr()] = new
        return x.with_values(sums.to(x.values.dtype)), {"sum": handle}


class Bare(MeanNorm):
    """Does not stream; wrong: init_state raises something else than the reason."""

    def init_state(self, batch, *, like=None, memory=None):
        return super().init_state(batch) if self.right else {}["state"]


class Forgetful(Base):
    """Scales by a number; wrong: the number is set behind the constructor, which records it not."""

    def __init__(self, right: bool = True, scale: float = 2.0) -> None:
        super().__init__(right)
        self.scale = scale if right else 3.0 + float(torch.rand(()))

    def step(self, x: Seq, state, memory=None):
        return x.with_values(self.scale * (x.zeroed() @ self.weight)), {}


class Branches(Base):
    """Adds one where all frames are real; wrong: decides it in Python, which a graph cannot."""

    def step(self, x: Seq, state, memory=None):
        y = x.zeroed() @ self.weight
        if self.right or bool((y.sum() > 0) | ~(y.sum() > 0)):
            y = y + 1
        return x.with_values(y), {}


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * ctx.saved_tensors[0]


class WrongBackward(Base):
    """(x W)^2; wrong: a backward written by hand that lost the factor 2, in forward and step alike."""

    def step(self, x: Seq, state, memory=None):
        y = x.zeroed() @ self.weight
        return x.with_values(y * y if self.right else Square.apply(y)), {}


class WritesInTurn(Base):
    """The running sum; wrong: step_rows writes the first rows of the batch, whichever were asked for."""

    def init_state(self, batch, *, like=None, memory=None):
        return {"sum": self.zeros(batch, 4, like=like)}

    def step(self, x: Seq, state, memory=None):
        sums = state["sum"][:, None] + torch.cumsum(x.zeroed() @ self.weight, 1)
        return x.with_values(sums.to(x.values.dtype)), {"sum": sums[:, -1].to(state_dtype(x.values))}

    def step_rows(self, x: Seq, state, rows: Tensor, memory=None):
        y, new = self.step(x, {"sum": state["sum"][rows]})
        state["sum"][rows if self.right else torch.arange(len(rows))] = new["sum"]
        return y


class CountsInPython(Base):
    """x W + sin(position); wrong: the position of a step is a number in Python, which a replay does not know."""

    def __init__(self, right: bool = True) -> None:
        super().__init__(right)
        self.seen = 0

    def init_state(self, batch, *, like=None, memory=None):
        self.seen = 0
        return {"position": self.zeros(batch, like=like, dtype=torch.long)}

    def step(self, x: Seq, state, memory=None):
        start = state["position"] if self.right else torch.full_like(state["position"], self.seen)
        self.seen += x.mask.shape[1]
        position = start[:, None] + x.mask.long().cumsum(1) - 1
        y = x.zeroed() @ self.weight + position[..., None].to(x.values.dtype).sin()
        return x.with_values(y), {"position": start + x.mask.sum(1)}
