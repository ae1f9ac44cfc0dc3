"""Streaming a layer: run_steps over given blocks, Streamer for chunks of any length."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from lamina.core import state as trees
from lamina.core.captured import Captured
from lamina.core.compose import channels
from lamina.core.layer import Layer, State
from lamina.core.seq import Seq

__all__ = ["Streamer", "run_steps"]


def run_steps(
    layer: Layer,
    x: Seq,
    blocks: Sequence[int] | None = None,
    *,
    state: State | None = None,
    memory: Seq | None = None,
) -> Seq:
    """The step form of a whole input: absent frames behind it, steps, the first `delay` outputs dropped.

    blocks: how many blocks each step takes, in turn; the last number repeats (default: one block at a time).
    Returns as many frames as forward does. x [B,T,*d_in] -> [B,frames(T),*d_out].
    """
    spec, n = layer.stream_spec(), x.mask.shape[1]
    like = x.values if x.values.is_floating_point() else layer.like(None)
    state = layer.init_state(len(x.mask), like=like, memory=memory) if state is None else state
    total = n + spec.flush_frames
    behind = spec.flush_frames + -total % spec.block
    x = Seq.cat([x, Seq.absent(len(x.mask), behind, x.values.shape[2:], x.values)]) if behind else x
    sizes, at, parts = list(blocks or [1]), 0, []
    while at < n + behind:
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        frames = min(size * spec.block, n + behind - at)
        y, state = _step(layer, x.slice(at, at + frames), state, memory)
        parts.append(y)
        at += frames
    if not parts:
        return Seq.absent(len(x.mask), 0, channels(layer.d_out), like)
    return Seq.cat(parts).slice(spec.delay, spec.delay + layer.frames(n))


def _step(layer: Layer, x: Seq, state: State, memory: Seq | None) -> tuple[Seq, State]:
    return layer.step(x, state, memory) if layer.takes_memory else layer.step(x, state)


class Streamer:
    """Chunks of any length in, the frames that are ready out; flush gives the rest.

        streamer = Streamer(model)
        for chunk in microphone:                    # [B,T,*d_in], any T, also 0
            ready = streamer.push(chunk)            # a Seq, perhaps of no frame
        last = streamer.flush()

    All that was pushed comes out as forward would give it. After flush the next push starts a new stream.
    `streamer.state` is the layer's state, a value to be saved; frames short of a block wait in `streamer.waiting`.
    captured=True: steps without their Python, about twice as fast where they are small; without gradients, and the
    weights must keep still (`lamina.Captured`).
    """

    def __init__(
        self, layer: Layer, batch: int = 1, *, like: Tensor | None = None, memory: Seq | None = None,
        captured: bool = False,
    ) -> None:  # fmt: skip
        self.layer, self.batch, self.memory = layer, batch, memory
        self.spec, self.like = layer.stream_spec(), layer.like(like)
        self.captured = Captured(partial(_step, layer, memory=memory)) if captured else None
        self.reset()

    @property
    def state(self) -> State:
        return self._state if self.captured is None else trees.map_tensors(Tensor.clone, self._state)

    @state.setter
    def state(self, state: State) -> None:
        self._state = state

    def reset(self) -> None:
        """Forgets the stream."""
        self.state = self.layer.init_state(self.batch, like=self.like, memory=self.memory)
        self.waiting: Seq | None = None
        self.pushed = self.stepped = self.emitted = 0

    def push(self, chunk: Tensor | Seq) -> Seq:
        """The next frames: values [B,T,*d_in], or a Seq whose rows may end early."""
        x = chunk if isinstance(chunk, Seq) else Seq.of(chunk)
        wanted = (self.batch, *channels(self.layer.d_in))
        if (len(x.values), *x.values.shape[2:]) != wanted:
            raise ValueError(
                f"Streamer: a chunk of shape {tuple(x.values.shape)} does not fit [B={wanted[0]},T,*{wanted[1:]}]"
            )
        self.pushed += x.mask.shape[1]
        return self._advance(x)

    def flush(self) -> Seq:
        """Ends the stream: absent frames bring the delayed outputs out; the Streamer is then as new."""
        total = self.pushed + self.spec.flush_frames
        behind = total + -total % self.spec.block - self.pushed
        owed = self.layer.frames(self.pushed) - self.emitted
        last = self._advance(Seq.absent(self.batch, behind, channels(self.layer.d_in), self._frame_like()))
        self.reset()
        return last.slice(0, owed)

    def _advance(self, x: Seq) -> Seq:
        x = x if self.waiting is None else Seq.cat([self.waiting, x])
        ready = x.mask.shape[1] - x.mask.shape[1] % self.spec.block
        self.waiting = x.slice(ready, x.mask.shape[1])
        if not ready:
            return Seq.absent(self.batch, 0, channels(self.layer.d_out), self.like)
        x = x.slice(0, ready)
        if self.captured is None:
            y, self._state = _step(self.layer, x, self._state, self.memory)
        else:
            y, self._state = self.captured(x, self._state)
        warm_up = max(0, self.spec.delay - self.stepped)
        self.stepped += y.mask.shape[1]
        y = y.slice(min(warm_up, y.mask.shape[1]), y.mask.shape[1])
        self.emitted += y.mask.shape[1]
        return y

    def _frame_like(self) -> Tensor:
        if self.waiting is not None:
            return self.waiting.values
        return self.like.new_zeros(0, dtype=torch.long) if self.layer.n_vocab else self.like
