"""Small layers that are wrong in one way each, and their repaired twins: what the laws are tried on.

Every class takes `right`: True is the repaired twin. D = 4 throughout, so that a law takes milliseconds.
"""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn

from lamina.core import Layer, NotStreamable, Seq, StreamSpec
from lamina.core.layer import state_dtype

D = 4


class Base(Layer):
    """[B,T,4] -> [B,T,4], a matrix to be different from the identity, and the flag."""

    def __init__(self, right: bool = True) -> None:
        super().__init__()
        self.right, self.d_in, self.d_out = right, D, D
        self.weight = nn.Parameter(torch.eye(D))

    def stream_spec(self) -> StreamSpec:
        return StreamSpec()

    def zeros(self, batch: int, *shape: int, like: Tensor | None, dtype: torch.dtype | None = None) -> Tensor:
        like = self.like(like)
        return like.new_zeros(batch, *shape, dtype=dtype or state_dtype(like))

    def init_state(self, batch, *, like=None, memory=None):
        return {}

    def begin(self, x: Seq):
        like = torch.empty(0, dtype=x.values.dtype)
        return self.init_state(len(x.mask), like=like)

    def forward(self, x: Seq, memory=None) -> Seq:
        return self.step(x, self.begin(x))[0]


class Ahead(Base):
    """y_t = mean of the real frames among x_t and x_{t+1}, a lookahead of one frame; wrong: reads padded frames."""

    def stream_spec(self) -> StreamSpec:
        return StreamSpec(delay=1)

    def init_state(self, batch, *, like=None, memory=None):
        return {
            "values": self.zeros(batch, 1, D, like=like),
            "mask": self.zeros(batch, 1, like=like, dtype=torch.bool),
        }

    def mix(self, values: Tensor, mask: Tensor, frames: Seq) -> Seq:
        n = frames.mask.shape[1]
        count = mask[:, :n].to(values.dtype) + mask[:, 1:].to(values.dtype)
        mean = (values[:, :n] + values[:, 1:]) / count.clamp(min=1)[..., None]
        return frames.with_values(mean @ self.weight)

    def read(self, x: Seq) -> Tensor:
        return x.zeroed() if self.right else x.values

    def forward(self, x: Seq, memory=None) -> Seq:
        last = x.values.new_zeros(len(x.mask), 1, D)
        mask = torch.cat([x.mask, x.mask.new_zeros(len(x.mask), 1)], 1)
        return self.mix(torch.cat([self.read(x), last], 1), mask, x)

    def step(self, x: Seq, state, memory=None):
        values, mask = torch.cat([state["values"], self.read(x)], 1), torch.cat([state["mask"], x.mask], 1)
        n = x.mask.shape[1]
        y = self.mix(values.to(x.values.dtype), mask, Seq(values[:, :n], mask[:, :n]))
        return y, {"values": values[:, n:].to(state["values"].dtype), "mask": mask[:, n:].clone()}


class MeanNorm(Base):
    """x minus the mean of its row, not streamable; wrong: the mean runs over padded frames."""

    def stream_spec(self) -> StreamSpec:
        raise NotStreamable("needs the whole row")

    def frames(self, n: int) -> int:
        return n

    def init_state(self, batch, *, like=None, memory=None):
        return self.stream_spec()

    def step(self, x, state, memory=None):
        return self.stream_spec()

    def forward(self, x: Seq, memory=None) -> Seq:
        count = x.lengths().clamp(min=1)[:, None, None] if self.right else x.mask.shape[1]
        return x.with_values((x.zeroed() - x.zeroed().sum(1, keepdim=True) / count) @ self.weight)


class TrainingNorm(MeanNorm):
    """Batch normalisation of training only; wrong: its statistics take padded frames."""

    def stream_spec(self) -> StreamSpec:
        return StreamSpec()

    def init_state(self, batch, *, like=None, memory=None):
        return {}

    def forward(self, x: Seq, memory=None) -> Seq:
        if not self.training:
            return x.with_values(x.zeroed() @ self.weight)
        count = x.mask.sum().clamp(min=1) if self.right else x.mask.numel()
        return x.with_values((x.zeroed() - x.zeroed().sum((0, 1)) / count) @ self.weight)

    def step(self, x, state, memory=None):
        return x.with_values(x.zeroed() @ self.weight), {}


class Gated(Base):
    """S <- a S + x W with a = sigmoid(x w + b); wrong: absent frames are zeros, but their decay acts."""

    def init_state(self, batch, *, like=None, memory=None):
        return {"S": self.zeros(batch, D, like=like)}

    def step(self, x: Seq, state, memory=None):
        S, values, outputs = state["S"], x.zeroed(), []
        decay, write = torch.sigmoid(values.sum(-1, keepdim=True) + 1), values @ self.weight
        if self.right:
            decay = torch.where(x.mask[..., None], decay, 1.0)
            write = torch.where(x.mask[..., None], write, 0.0)
        for t in range(x.mask.shape[1]):
            S = decay[:, t] * S + write[:, t]
            outputs.append(S)
        return x.with_values(torch.stack(outputs, 1).to(x.values.dtype)), {"S": S.to(state["S"].dtype)}


class Positions(Base):
    """x W + sin(position); wrong: step begins at 0, or counts absent frames."""

    counts_absent = False

    def init_state(self, batch, *, like=None, memory=None):
        return {"position": self.zeros(batch, like=like, dtype=torch.long)}

    def step(self, x: Seq, state, memory=None):
        counted = torch.ones_like(x.mask) if self.counts_absent and not self.right else x.mask
        start = state["position"][:, None] if self.right or self.counts_absent else 0
        position = start + counted.long().cumsum(1) - 1
        y = x.zeroed() @ self.weight + position[..., None].to(x.values.dtype).sin()
        return x.with_values(y), {"position": state["position"] + counted.sum(1)}

    def forward(self, x: Seq, memory=None) -> Seq:
        t = torch.arange(x.mask.shape[1])[None, :, None].to(x.values.dtype)
        return x.with_values(x.zeroed() @ self.weight + t.sin())


class CountsAbsent(Positions):
    counts_absent = True


class Rotary(Base):
    """The product of this frame and the last real one, both rotated by their positions: what attention's score is.

    Right: rotated by their distance. Wrong: by absolute positions in float32, always or as the compute dtype says.
    """

    always_float32 = False

    def init_state(self, batch, *, like=None, memory=None):
        return {
            "values": self.zeros(batch, 1, D, like=like),
            "position": self.zeros(batch, like=like, dtype=torch.long),
            "mask": self.zeros(batch, 1, like=like, dtype=torch.bool),
        }

    def step(self, x: Seq, state, memory=None):
        n, now = x.mask.shape[1], x.zeroed() @ self.weight
        frames = torch.cat([state["values"].to(now.dtype), now], 1)
        mask = torch.cat([state["mask"], x.mask], 1)
        t = state["position"][:, None] + x.mask.long().cumsum(1) - 1
        if self.right:
            y = _turned(frames[:, 1:], torch.ones_like(t), torch.float64) * _turned(frames[:, :-1], t * 0).conj()
        else:
            dtype = torch.float32 if self.always_float32 else state["values"].dtype
            y = _turned(frames[:, 1:], t, dtype) * _turned(frames[:, :-1], t - 1, dtype).conj()
        real = (mask[:, :-1] & mask[:, 1:])[..., None]
        y = torch.where(real, torch.view_as_real(y).flatten(2), 0.0).to(x.values.dtype)
        new = {
            "values": frames[:, n:].to(state["values"].dtype),
            "position": state["position"] + x.mask.sum(1),
            "mask": mask[:, n:].clone(),
        }
        return x.with_values(y), new


class RotaryFloat32(Rotary):
    always_float32 = True


def _turned(x: Tensor, t: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """Pairs of x [B,T,4] as complex numbers [B,T,2], turned by t * 0.7 and t * 0.3; angles in that dtype."""
    angle = t[..., None].to(dtype) * torch.tensor([0.7, 0.3], dtype=dtype)
    wide = state_dtype(x)
    pairs = torch.view_as_complex(x.to(wide).reshape(*x.shape[:2], 2, 2).contiguous())
    return pairs * torch.polar(torch.ones_like(angle), angle).to(pairs.dtype)


class Halve(Base):
    """y_j = (x_{2j} + x_{2j-1} + x_{2j-2}) W; wrong: each step begins with zeros."""

    def stream_spec(self) -> StreamSpec:
        return StreamSpec(block=2, ratio=Fraction(1, 2))

    def init_state(self, batch, *, like=None, memory=None):
        return {"values": self.zeros(batch, 2, D, like=like)}

    def step(self, x: Seq, state, memory=None):
        past = state["values"] if self.right else torch.zeros_like(state["values"])
        frames = torch.cat([past, torch.where(x.expand_mask(), x.values, 0.0)], 1)
        y = frames[:, :-2:2] + frames[:, 1:-1:2] + frames[:, 2::2]
        # absent frames before the first real one leave the zeros as they are; behind the last they change nothing real
        last = torch.where(x.mask[:, -2:].any(1)[:, None, None], frames[:, -2:], state["values"])
        return Seq(y.to(x.values.dtype) @ self.weight, x.mask[:, ::2]), {"values": last.to(state["values"].dtype)}

    def forward(self, x: Seq, memory=None) -> Seq:
        frames = torch.cat([x.values.new_zeros(len(x.mask), 2, D), x.zeroed()], 1)
        n = (x.mask.shape[1] + 1) // 2 * 2
        frames = torch.cat([frames, frames.new_zeros(len(frames), n + 2 - frames.shape[1], D)], 1)
        y = frames[:, :-2:2] + frames[:, 1:-1:2] + frames[:, 2::2]
        return Seq(y @ self.weight, x.mask[:, ::2])


class Noisy(Base):
    """Dropout in training; wrong: in a training-mode step too."""

    def forward(self, x: Seq, memory=None) -> Seq:
        return x.with_values(nn.functional.dropout(x.zeroed() @ self.weight, 0.5, self.training))

    def step(self, x, state, memory=None):
        return self.forward(x) if not self.right else x.with_values(x.zeroed() @ self.weight), {}


class Counting(Base):
    """A running mean that training updates; wrong: step in training mode updates and uses it too."""

    def __init__(self, right: bool = True) -> None:
        super().__init__(right)
        self.register_buffer("mean", torch.zeros(D))

    def forward(self, x: Seq, memory=None) -> Seq:
        if self.training:
            now = x.zeroed().sum((0, 1)) / x.mask.sum().clamp(min=1)
            self.mean.lerp_(now.detach(), 0.1)
        return x.with_values((x.zeroed() - self.mean) @ self.weight)

    def step(self, x, state, memory=None):
        return self.forward(x) if not self.right else x.with_values((x.zeroed() - self.mean) @ self.weight), {}


class WhereAfter(Base):
    """x W; wrong: the padding is selected away behind the product, so that the weight's gradient is NaN * 0."""

    def step(self, x: Seq, state, memory=None):
        y = x.zeroed() @ self.weight if self.right else torch.where(x.expand_mask(), x.values @ self.weight, 0.0)
        return x.with_values(y), {}
