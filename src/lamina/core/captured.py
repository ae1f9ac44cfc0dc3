"""Captured: a step without its Python, for streams whose steps are all alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lamina.core import state as trees
from lamina.core.layer import State
from lamina.core.seq import Seq
from lamina.ops._native.replay import NotCaptured, Replay
from lamina.ops.registry import forced

__all__ = ["Captured"]

MANY = 8  # kinds of steps that are kept
MOST = 256  # frames that come out, of all rows: in larger steps Python is a small part, and what is kept is much

Step = Callable[[Seq, State], tuple[Seq, State]]


class Captured:
    """y, state = step(x, state) as `layer.step` gives them, from the third step of a kind on without its Python.

        step = Captured(layer.step)
        y, state = step(x, state)

    The first step of a kind (shapes, hints) runs as it is, the second is captured, later ones replay its operators and
    kernels on the same memory: a stream of small steps takes about half the time. For one thread, on a CPU, without
    gradients, of at most 256 frames out; other steps run as they are. Where one hangs on the numbers of its input, all
    do, and `reason` says why. The weights must keep still from the first step on.

    The state that is given is left alone, but for the one that the call before gave: the next call writes over it, so
    clone what is to be kept; where an older one is given again, ValueError says so. Memory: all tensors between the
    layers of a step, for each of the last 8 kinds.
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self.reason: str | None = None
        self.kinds: dict[tuple[Any, ...], _Kind | None] = {}
        self.now: _Kind | None = None

    def __call__(self, x: Seq, state: State) -> tuple[Seq, State]:
        if torch.is_grad_enabled() or self.reason is not None:
            return self.step(x, state)
        now = self.now
        if now is None or state is not now.state or now.form != _form(x):
            now = self.now = self._kind(x, state)
            if now is None:
                return self._first(x, state)
        try:
            return now(self.step, x)
        except NotCaptured as reason:
            self.reason = str(reason)
            self.kinds.clear()
            self.now = None
            return self.step(x, state)

    def _first(self, x: Seq, state: State) -> tuple[Seq, State]:
        """A step of a kind that was not met before. The state is copied: what comes back may hold what was given."""
        y, state = self.step(x, trees.map_tensors(_copy, state))
        if y.mask.numel() > MOST:
            self.kinds.popitem()  # such a step is never met, and so never captured
        elif len(self.kinds) > MANY:
            del self.kinds[next(iter(self.kinds))]
        return y, state

    def _kind(self, x: Seq, state: State) -> _Kind | None:
        """The capture for such a step, which has taken the state over; None where it must run as it is."""
        flat, kinds = trees.flatten(state), [kind for kind in self.kinds.values() if kind is not None]
        if not any(state is kind.state for kind in kinds):
            held = {id(t) for kind in kinds for t in kind.buffers.values()}
            if any(id(t) in held for t in flat.values()):
                raise ValueError("this state was written over by a later step; clone a state that is to be kept")
        key = (_form(x), frozenset((name, t.shape, t.dtype) for name, t in flat.items()))
        if key not in self.kinds:
            self.kinds[key] = None  # met once
            return None
        kind = self.kinds[key]
        if kind is None:
            kind = self.kinds[key] = _Kind(x, flat)
        kind.take(flat)
        return kind


class _Kind:
    """Steps of one form: their frames and their state in memory of its own, and the capture once there is one."""

    def __init__(self, x: Seq, flat: dict[str, Tensor]) -> None:
        self.form = _form(x)
        self.x = Seq(_copy(x.values), _copy(x.mask)).hint(dense=x.dense, finite=x.finite)
        self.buffers = {name: _copy(t) for name, t in flat.items()}
        self.state = trees.unflatten(self.buffers)
        self.replay: Replay | None = None
        self.hints: dict[str, bool] = {}

    def take(self, flat: dict[str, Tensor]) -> None:
        """Goes on from another state."""
        for name, tensor in self.buffers.items():
            if flat[name] is not tensor:
                tensor.copy_(flat[name])

    def __call__(self, step: Step, x: Seq) -> tuple[Seq, State]:
        self.x.values.copy_(x.values)
        if not x.dense:
            self.x.mask.copy_(x.mask)
        if self.replay is None:
            inputs = [self.x.values, *([] if x.dense else [self.x.mask]), *self.buffers.values()]
            self.replay = Replay(lambda: self._run(step), inputs)
        else:
            self.replay()
        self.state = dict(self.state)  # who holds the one before is told that it was written over
        made = zip(self.replay.outputs, self.replay.moves, strict=True)
        values, mask = [t.clone() if moves else t for t, moves in made]
        return Seq(values, mask).hint(**self.hints), self.state

    def _run(self, step: Step) -> list[Tensor]:
        """The step, whose new state is then copied over the old one."""
        with trees.owning():
            y, new = step(self.x, self.state)
        self.hints, after = {"dense": y.dense, "finite": y.finite}, trees.flatten(new)
        moved = [name for name, tensor in self.buffers.items() if after[name] is not tensor]
        outputs, later = self._apart([y.values, y.mask]), self._apart([after[name] for name in moved])
        for name, tensor in zip(moved, later, strict=True):
            self.buffers[name].copy_(tensor)
        return outputs

    def _apart(self, tensors: list[Tensor]) -> list[Tensor]:
        """The tensors, copied where they lie in the state that is written over."""
        held = {t.untyped_storage().data_ptr() for t in self.buffers.values()}
        return [t.clone() if t.untyped_storage().data_ptr() in held else t for t in tensors]


def _form(x: Seq) -> tuple[Any, ...]:
    return (x.values.shape, x.values.dtype, x.dense, x.finite, forced(), torch.is_inference_mode_enabled())


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format)
