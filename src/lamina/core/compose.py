"""Composites: they compute their own stream spec and put in the delays themselves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice, pairwise
from math import lcm
from typing import Literal, cast

import torch
from torch import Tensor

from lamina.core import state as trees
from lamina.core.config import rebuild
from lamina.core.layer import Layer, NotStreamable, Pointwise, State, StreamSpec, Whole, Width, state_dtype
from lamina.core.seq import Seq

__all__ = ["Bidirectional", "Delay", "Identity", "Parallel", "Repeat", "Residual", "Reverse", "Serial"]


class Identity(Pointwise):
    """y = x. [B,T,*C] -> [B,T,*C]."""

    def __init__(self, width: Width) -> None:
        super().__init__()
        self.d_in = self.d_out = width

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        return x.with_values(x.values, finite=x.finite)


class Delay(Layer):
    """y_t = x_{t-n} in step, the identity in forward: what keeps branches and strides in phase.

    [B,T,*C] -> [B,T,*C]; state {"values": [B,n,*C], "mask": [B,n]}: n frames.
    """

    def __init__(self, width: Width, n: int) -> None:
        super().__init__()
        self.d_in = self.d_out = width
        self.n = n

    def stream_spec(self) -> StreamSpec:
        return StreamSpec(delay=self.n)

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        return _waiting(batch, self.d_in, self.n, self.like(like))

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        return x.with_values(x.values, finite=x.finite)

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        return _wait(x, state)

    def frames(self, n: int) -> int:
        return n


def _waiting(batch: int, width: Width, n: int, like: Tensor) -> State:
    empty = Seq.absent(batch, n, channels(width), like.new_empty(0, dtype=state_dtype(like)))
    return {"values": empty.values, "mask": empty.mask}


def _wait(x: Seq, state: State) -> tuple[Seq, State]:
    past = cast("dict[str, Tensor]", state)
    values = torch.cat([past["values"], x.zeroed()], 1)
    mask = torch.cat([past["mask"], x.mask], 1)
    frames = x.mask.shape[1]
    out = Seq(values[:, :frames].to(x.values.dtype), mask[:, :frames]).hint(finite=True)
    return out, {"values": values[:, frames:].to(past["values"].dtype), "mask": mask[:, frames:].clone()}


def _wait_rows(x: Seq, state: State, rows: Tensor) -> Seq:
    """_wait for some rows, whose waiting frames are written over."""
    y, new = _wait(x, trees.gather(state, rows))
    trees.put(state, rows, new)
    return y


class _Composite(Layer):
    """What Serial and Parallel share: named children, a spec computed once, states by child name."""

    def __init__(self, layers: tuple[Layer, ...]) -> None:
        super().__init__()
        if not layers:
            raise ValueError(f"{type(self).__name__} needs at least one layer")
        for i, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"{type(self).__name__}: child {i} is a {type(layer).__name__}, not a lamina.Layer")
            self.add_module(str(i), layer)
        self.n_layers = len(layers)
        readers = [layer for layer in layers if layer.takes_memory]
        self.takes_memory = bool(readers)
        if readers:  # of the memory's frames; all readers share it
            self.d_memory = readers[0].d_memory or readers[0].d_in

    def children_in_order(self) -> Iterator[tuple[str, Layer]]:
        """The children under their index: they were the first modules to be added."""
        return islice(cast("dict[str, Layer]", self._modules).items(), self.n_layers)

    def child_specs(self) -> list[StreamSpec]:
        return [spec_of(name, layer) for name, layer in self.children_in_order()]

    def plan(self, make: Callable[[], tuple[StreamSpec, list[int]]]) -> None:
        """Computes the spec and the frames each child must wait; keeps the reason where there is none."""
        self.reason: NotStreamable | None = None
        try:
            self.spec, self.waits = make()
        except NotStreamable as reason:
            self.spec, self.waits, self.reason = StreamSpec(), [0] * self.n_layers, reason

    def stream_spec(self) -> StreamSpec:
        if self.reason is not None:
            raise self.reason
        return self.spec

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        self.stream_spec()
        like, state = self.like(like), cast(State, {})
        for (name, layer), wait in zip(self.children_in_order(), self.waits, strict=True):
            if wait:
                state[f"{name}_delay"] = _waiting(batch, self.waiting_width(layer), wait, like)
            inner = layer.init_state(batch, like=like, memory=memory if layer.takes_memory else None)
            if inner:
                state[name] = inner
        return state

    @abstractmethod
    def waiting_width(self, layer: Layer) -> Width:
        """The width of the frames that wait for a child: its input's or its output's."""


def _run(layer: Layer, name: str, x: Seq, state: State, new: State, memory: Seq | None) -> Seq:
    """One child's step: its part of the old state in, its part of the new state out."""
    inner = cast(State, state.get(name, {}))
    y, after = layer.step(x, inner, memory) if layer.takes_memory else layer.step(x, inner)
    if after:
        new[name] = after
    return y


class Serial(_Composite):
    """One layer after another: [B,T,*d_in of the first] -> [B,T*ratio,*d_out of the last].

    Before a layer with a block (a stride, a chunk) the stream waits -delay % block frames, so that the real frames
    start at a block's beginning. State: the children's under their index, the waits under "<index>_delay".
    """

    def __init__(self, *layers: Layer) -> None:
        super().__init__(layers)
        for i, (before, after) in enumerate(pairwise(layers)):
            if before.d_out != after.d_in:
                raise ValueError(
                    f"Serial: layer {i} ({type(before).__name__}) gives width {before.d_out}, "
                    f"layer {i + 1} ({type(after).__name__}) takes {after.d_in}"
                )
        self.d_in, self.d_out, self.n_vocab = layers[0].d_in, layers[-1].d_out, layers[0].n_vocab
        self.plan(self._phase)

    def _phase(self) -> tuple[StreamSpec, list[int]]:
        block, ratio, delay, waits = 1, Fraction(1), 0, []
        for spec in self.child_specs():
            block = lcm(block, (ratio / spec.block).denominator)
            wait = -delay % spec.block
            delay = int((delay + wait) * spec.ratio) + spec.delay
            ratio *= spec.ratio
            waits.append(wait)
        return StreamSpec(block, ratio, delay), waits

    def waiting_width(self, layer: Layer) -> Width:
        return layer.d_in

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        self._fits(x)
        for _, layer in self.children_in_order():
            x = layer(x, memory) if layer.takes_memory else layer(x)
        return x

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        self.stream_spec()
        self._fits(x)
        new: State = {}
        for (name, layer), wait in zip(self.children_in_order(), self.waits, strict=True):
            if wait:
                x, new[f"{name}_delay"] = _wait(x, cast(State, state[f"{name}_delay"]))
            x = _run(layer, name, x, state, new, memory)
        return x, new

    def step_rows(self, x: Seq, state: State, rows: Tensor, memory: Seq | None = None) -> Seq:
        self.stream_spec()
        self._fits(x)
        for (name, layer), wait in zip(self.children_in_order(), self.waits, strict=True):
            if wait:
                x = _wait_rows(x, cast(State, state[f"{name}_delay"]), rows)
            x = layer.step_rows(x, cast(State, state.get(name, {})), rows, memory)
        return x

    def _fits(self, x: Seq) -> None:
        if tuple(x.values.shape[2:]) != channels(self.d_in):
            wanted = ",".join(str(c) for c in channels(self.d_in))
            raise ValueError(
                f"{getattr(self, 'name', type(self).__name__)}: values of shape {list(x.values.shape)} do not fit "
                f"[B,T,{wanted}]; bring the frames to that width first, for example with a Linear in front"
            )

    def frames(self, n: int) -> int:
        for _, layer in self.children_in_order():
            n = layer.frames(n)
        return n


class Parallel(_Composite):
    """The same input to every branch, outputs joined: [B,T,*d_in] -> [B,T*ratio,*d_out].

    combine "add" and "multiply" keep the width, "concat" joins the last dimension. Shorter branches wait for the
    longest (their outputs are delayed), so a skip connection around a lookahead stays aligned.
    """

    def __init__(self, *layers: Layer, combine: Literal["add", "multiply", "concat"] = "add") -> None:
        super().__init__(layers)
        self.combine = combine
        widths = [layer.d_out for layer in layers]
        if any(layer.d_in != layers[0].d_in for layer in layers):
            raise ValueError(f"Parallel: branches take different widths {[layer.d_in for layer in layers]}")
        if combine == "concat":
            wide = [channels(w) for w in widths]
            joined = (*wide[0][:-1], sum(w[-1] for w in wide))
            self.d_out = joined[0] if len(joined) == 1 else joined
        elif combine not in ("add", "multiply"):
            raise ValueError(f"Parallel: combine is add, multiply or concat, not {combine!r}")
        elif any(w != widths[0] for w in widths):
            raise ValueError(f"Parallel: cannot {combine} branches of widths {widths}; make them equal or use concat")
        else:
            self.d_out = widths[0]
        self.d_in = layers[0].d_in
        self.n_vocab = next((layer.n_vocab for layer in layers if layer.n_vocab), None)
        self.plan(self._align)

    def _align(self) -> tuple[StreamSpec, list[int]]:
        specs = self.child_specs()
        if any(s.ratio != specs[0].ratio for s in specs):
            raise ValueError(f"{type(self).__name__}: branches have different ratios {[str(s.ratio) for s in specs]}")
        delay = max(s.delay for s in specs)
        return StreamSpec(lcm(*(s.block for s in specs)), specs[0].ratio, delay), [delay - s.delay for s in specs]

    def waiting_width(self, layer: Layer) -> Width:
        return layer.d_out

    def _join(self, parts: list[Seq]) -> Seq:
        values = [p.values for p in parts]
        if self.combine == "concat":
            return parts[0].with_values(torch.cat(values, -1))
        joined = values[0]
        for v in values[1:]:
            joined = joined + v if self.combine == "add" else joined * v
        return parts[0].with_values(joined)

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        return self._join(
            [layer(x, memory) if layer.takes_memory else layer(x) for _, layer in self.children_in_order()]
        )

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        self.stream_spec()
        new: State = {}
        parts = []
        for (name, layer), wait in zip(self.children_in_order(), self.waits, strict=True):
            y = _run(layer, name, x, state, new, memory)
            if wait:
                y, new[f"{name}_delay"] = _wait(y, cast(State, state[f"{name}_delay"]))
            parts.append(y)
        return self._join(parts), new

    def step_rows(self, x: Seq, state: State, rows: Tensor, memory: Seq | None = None) -> Seq:
        self.stream_spec()
        parts = []
        for (name, layer), wait in zip(self.children_in_order(), self.waits, strict=True):
            y = layer.step_rows(x, cast(State, state.get(name, {})), rows, memory)
            parts.append(_wait_rows(y, cast(State, state[f"{name}_delay"]), rows) if wait else y)
        return self._join(parts)

    def frames(self, n: int) -> int:
        return next(self.children_in_order())[1].frames(n)


class Residual(Parallel):
    """y = x + body(x), the skip branch delayed by the body's delay (He et al. 2015, arXiv:1512.03385).

    [B,T,*C] -> [B,T,*C]; several layers are a Serial body. State: the body's, and `delay` frames of x.
    """

    def __init__(self, *body: Layer) -> None:
        inner = body[0] if len(body) == 1 else Serial(*body)
        super().__init__(Identity(inner.d_in), inner)


class Repeat(Serial):
    """n layers built like `layer`, each with its own fresh weights, one after another. [B,T,*C] -> [B,T,*C]."""

    def __init__(self, layer: Layer, n: int) -> None:
        if n < 1:
            raise ValueError(f"Repeat: n must be at least 1, not {n}")
        super().__init__(layer, *(rebuild(layer) for _ in range(n - 1)))


class Reverse(Whole):
    """Each row's real frames from last to first; the padding stays on the right. [B,T,*C] -> [B,T,*C]."""

    whole = ("the backward direction starts at the last frame",)

    def __init__(self, width: Width) -> None:
        super().__init__()
        self.d_in = self.d_out = width

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        t = torch.arange(x.mask.shape[1], device=x.mask.device)
        last_first = (x.lengths()[:, None] - 1 - t).where(x.mask, t)
        index = last_first.reshape(last_first.shape + (1,) * (x.values.dim() - 2)).expand_as(x.values)
        return x.with_values(x.values.gather(1, index), finite=x.finite)


class Bidirectional(Parallel):
    """One layer forwards, one backwards, outputs joined on the last dimension (Schuster & Paliwal 1997).

    [B,T,d_in] -> [B,T,d_out forwards + d_out backwards]. Does not stream.
    """

    def __init__(self, forwards: Layer, backwards: Layer) -> None:
        mirrored = Serial(Reverse(backwards.d_in), backwards, Reverse(backwards.d_out))
        super().__init__(forwards, mirrored, combine="concat")


def channels(width: Width) -> tuple[int, ...]:
    """A width as the trailing shape of values: 64 -> (64,)."""
    return (width,) if isinstance(width, int) else tuple(width)


def spec_of(name: str, layer: Layer) -> StreamSpec:
    """A child's spec; the reason why it has none begins with the child's name."""
    try:
        return layer.stream_spec()
    except NotStreamable as reason:
        raise reason.under(name) from None
