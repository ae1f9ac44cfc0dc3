"""Traps of the state: running sums, caches and attention over them; right=True is the repaired twin."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.core import Seq
from lamina.core.layer import state_dtype
from trap_layers import Base, D


class Sum(Base):
    """The running sum of x W, in several states that break the laws of states."""

    state_only_alone = False  # the state is used only where T == 1
    low = False  # the state has the compute dtype
    turns = False  # a counter is an integer first and floating later
    none = False  # the state is empty at first
    in_place = False  # the state's tensor is written over
    hidden = False  # the state lives in the layer

    def init_state(self, batch, *, like=None, memory=None):
        if self.none and not self.right:
            return {"sum": None}
        dtype = self.like(like).dtype if self.low and not self.right else None
        return {"sum": self.zeros(batch, D, like=like, dtype=dtype), **self.counter(batch, like)}

    def counter(self, batch, like):
        return {"count": self.zeros(batch, like=like, dtype=torch.long)} if self.turns else {}

    def step(self, x: Seq, state, memory=None):
        total, wrong = state["sum"], not self.right
        if total is None or (self.state_only_alone and wrong and x.mask.shape[1] > 1):
            total = x.values.new_zeros(len(x.mask), D)
        if self.hidden and wrong:
            total = self.__dict__.setdefault("kept", {}).get(len(x.mask), total).to(total.dtype)
        sums = total[:, None] + torch.cumsum(x.zeroed() @ self.weight, 1)
        last = sums[:, -1].to(total.dtype) if len(sums[0]) else total
        if self.hidden and wrong:
            self.kept[len(x.mask)] = last.detach()
        new = {"sum": state["sum"].copy_(last) if self.in_place and wrong else last}
        if self.turns:
            seen = state["count"] + x.lengths()
            new["count"] = seen.float() if wrong else seen
        return x.with_values(sums.to(x.values.dtype)), new

    def forward(self, x: Seq, memory=None) -> Seq:
        return x.with_values(torch.cumsum(x.zeroed() @ self.weight, 1))


class StateOnlyAlone(Sum):
    state_only_alone = True


class LowState(Sum):
    low = True


class Turning(Sum):
    turns = True


class NoneAtFirst(Sum):
    none = True


class InPlace(Sum):
    in_place = True


class Hidden(Sum):
    hidden = True


class WindowMean(Base):
    """The mean of the last 4 real frames, through a cache of 3; wrong in one of three ways."""

    forgets_mask = False  # a cache that holds anything counts as full
    writes_first = False  # the cache is written before it is read: too small for a chunk
    grows = False  # the cache is never cut

    def init_state(self, batch, *, like=None, memory=None):
        return {
            "values": self.zeros(batch, 3, D, like=like),
            "mask": self.zeros(batch, 3, like=like, dtype=torch.bool),
        }

    def step(self, x: Seq, state, memory=None):
        n, wrong, past = x.mask.shape[1], not self.right, state["mask"]
        values = torch.cat([state["values"], x.zeroed()], 1)
        mask = torch.cat([past, x.mask], 1)
        seen = torch.ones_like(mask) if self.forgets_mask and wrong and bool(past.any()) else mask
        if self.writes_first and wrong:
            values = torch.cat([values.new_zeros(len(mask), n, D), values[:, -4:]], 1)[:, -(n + 3) :]
            seen = torch.cat([seen.new_zeros(len(mask), n), seen[:, -4:]], 1)[:, -(n + 3) :]
        width = values.shape[1] - n  # 3, or more where the cache grows
        reach = torch.arange(values.shape[1]) - torch.arange(n)[:, None] - width
        weights = ((reach <= 0) & (reach > -4))[None] & seen[:, None]
        mean = weights.to(values.dtype) @ values / weights.sum(-1, keepdim=True).clamp(min=1)
        keep = slice(None) if self.grows and wrong else slice(values.shape[1] - 3, None)
        new = {
            "values": values[:, keep].to(state["values"].dtype),
            "mask": mask[:, -values.shape[1] :][:, keep].clone(),
        }
        return x.with_values(mean.to(x.values.dtype) @ self.weight), new

    def forward(self, x: Seq, memory=None) -> Seq:
        return WindowMean.step(self if self.right else _as_right(self), x, self.begin(x))[0]


class ForgetsMask(WindowMean):
    forgets_mask = True


class WritesFirst(WindowMean):
    writes_first = True


class Grows(WindowMean):
    grows = True


def _as_right(layer: WindowMean) -> WindowMean:
    twin = WindowMean(True)
    twin.weight = layer.weight
    return twin


class Attends(WindowMean):
    """Softmax over the last real frames; wrong: a row of -inf alone, NaN where there is nothing to attend to."""

    strictly = False  # only frames before this one: the first has nothing

    def step(self, x: Seq, state, memory=None):
        n = x.mask.shape[1]
        values, mask = torch.cat([state["values"], x.zeroed()], 1), torch.cat([state["mask"], x.mask], 1)
        reach = torch.arange(n + 3) - torch.arange(n)[:, None] - 3
        seen = ((reach < (0 if self.strictly else 1)) & (reach > -4))[None] & mask[:, None]
        scores = (values[:, 3:] @ self.weight.to(values.dtype)) @ values.mT
        weights = _softmax(scores, seen, self.right)
        new = {"values": values[:, n:], "mask": mask[:, n:].clone()}
        return x.with_values((weights @ values).to(x.values.dtype)), new

    def forward(self, x: Seq, memory=None) -> Seq:
        return self.step(x, self.begin(x))[0]


class AttendsBefore(Attends):
    strictly = True


class Crosses(Base):
    """x W + softmax attention over a memory, kept in the state; wrong: NaN where a row's memory is empty."""

    takes_memory = True

    def init_state(self, batch, *, like=None, memory=None):
        dtype = state_dtype(self.like(like))
        return {"values": memory.zeroed().to(dtype), "mask": memory.mask.clone()}

    def step(self, x: Seq, state, memory=None):
        now = x.zeroed() @ self.weight
        kept = state["values"].to(now.dtype)
        weights = _softmax(now @ kept.mT, state["mask"][:, None].expand(-1, now.shape[1], -1), self.right)
        return x.with_values(now + weights @ kept), state

    def forward(self, x: Seq, memory=None) -> Seq:
        return self.step(x, {"values": memory.zeroed(), "mask": memory.mask})[0]


def _softmax(scores: Tensor, seen: Tensor, right: bool) -> Tensor:
    if not right:
        return scores.masked_fill(~seen, -torch.inf).softmax(-1)
    weights = scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(-1)
    return torch.where(seen, weights, 0.0)
