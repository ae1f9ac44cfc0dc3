"""Case: a layer under test, its float64 truth, and inputs for both. Seeds are fixed: results are reproducible."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core import state as trees
from lamina.core.check.policy import LawError, agree, difference
from lamina.core.compose import channels
from lamina.core.layer import Layer, NotStreamable, State, StreamSpec
from lamina.core.seq import Seq
from lamina.core.stream import Streamer

__all__ = ["Case", "caches", "is_composite", "poisoned", "widened", "widened_seq"]

FRAMES = 2000  # the longest input of the fast laws, in frames
ROWS = 64  # of the sample that the forward's own error is taken from


class Case:
    """A layer and what the laws need to try it.

    layer: a Layer, or a function that makes one. name: as failures call it (default: its class).
    streamer and graph are the runners under test besides the layer: what `flush` pushes chunks through, and what
    `export` and `onnx` write (default: `Streamer` and `StepGraph`).

    The layer is copied: evaluation mode, float32, every parameter moved by 0.1 * randn and every buffer warmed by two
    training-mode forwards, so that a zero bias or the identity norm of a fresh layer cannot hide an error.
    """

    def __init__(
        self, layer: Layer | Callable[[], Layer], name: str | None = None, *, streamer: Callable[..., Any] = Streamer,
        graph: Callable[..., nn.Module] | None = None,
    ) -> None:  # fmt: skip
        made = layer if isinstance(layer, nn.Module) else layer()
        if not isinstance(made, Layer):
            raise TypeError(f"check takes a lamina.Layer or a function that makes one, not a {type(made).__name__}")
        self.given, self.name = made, name or type(made).__name__
        self.streamer, self.graph = streamer, graph
        self.notes: dict[str, str] = {}
        self.kept: dict[str, Any] = {}

    @cached_property
    def layer(self) -> Layer:
        """The float32 copy in evaluation mode, perturbed and warmed."""
        layer = copy.deepcopy(self.given).float()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            for p in layer.parameters():
                if p.is_floating_point():
                    p.add_(0.1 * torch.randn(p.shape, generator=generator))
            layer.train()
            for seed in (101, 102) if any(True for _ in layer.buffers()) else ():
                self.run(layer, self.inputs([7, 5, 3, 0], seed=seed), self.memory(4, seed=seed))
        return layer.eval()

    @cached_property
    def truth(self) -> Layer:
        """The same layer in float64."""
        return copy.deepcopy(self.layer).double()

    @cached_property
    def reason(self) -> NotStreamable | None:
        """Why it does not stream, None where it does."""
        try:
            self.given.stream_spec()
        except NotStreamable as reason:
            return reason
        return None

    @cached_property
    def spec(self) -> StreamSpec:
        return self.given.stream_spec() if self.reason is None else StreamSpec()

    @cached_property
    def frames(self) -> int:
        """An input length that overflows the layer's caches, lookahead included, and is no multiple of the block."""
        if self.reason is not None:
            return 13
        spec, state = self.spec, self.start(self.layer, 1)
        cached = sum(t.shape[1] for name, t in trees.flatten(state).items() if name.split(".")[-1] == "mask")
        wanted = ceil(1.5 * cached / min(float(spec.ratio), 1.0)) + 3 * spec.block + spec.flush_frames + 4
        frames = max(11, min(FRAMES, wanted), 2 * spec.block + 1)
        return frames + 1 if spec.block > 1 and frames % spec.block == 0 else frames

    @cached_property
    def own_error(self) -> float:
        """The float32 forward's largest error on a good sample, for the tolerance policy.

        Many rows: a normalised memory is worst conditioned at a row's first frame, where it holds one entry only.
        """
        x, memory = self.inputs([self.frames] * ROWS, seed=30), self.memory(ROWS)
        with torch.no_grad():
            truth, ref = self.run(self.truth, widened_seq(x), widened(memory)), self.run(self.layer, x, memory)
        apart = torch.where(truth.expand_mask(), difference(ref.values, truth.values), 0.0)
        error = float(apart.max()) if apart.numel() else 0.0
        return error if error < float("inf") else 0.0  # agree() names the frame of a NaN

    def agree(self, got: Seq, truth: Seq, ref: Seq, about: str, *, first_row: int = 0) -> None:
        """The policy for outputs; the float32 forward's own error is its largest here and on a larger sample."""
        agree(got, truth, ref, about, own=self.own_error, first_row=first_row)

    @property
    def lengths(self) -> list[int]:
        """A ragged batch: one row full, one of length 0."""
        return [self.frames, max(1, 2 * self.frames // 3), 1, 0]

    def inputs(self, lengths: Sequence[int], *, frames: int | None = None, seed: int = 0, dense: bool = False) -> Seq:
        """Random rows of these lengths, zeros behind them; [B, frames or the longest, *d_in]."""
        longest = max(lengths, default=0) if frames is None else frames
        generator = torch.Generator().manual_seed(1000 + seed)
        shape = (len(lengths), longest, *channels(self.given.d_in))
        if self.given.n_vocab:
            values = torch.randint(0, self.given.n_vocab, shape, generator=generator)
        else:
            values = torch.randn(shape, generator=generator)
        if dense:
            return Seq.of(values)
        x = Seq.ragged(values, torch.tensor(list(lengths)))
        return Seq(x.zeroed(), x.mask)

    def memory(self, batch: int, *, seed: int = 0, empty: bool = False) -> Seq | None:
        """Memory frames for a layer that takes them, ragged; empty: the first row has none. [B,S,*d_memory]."""
        if not self.given.takes_memory:
            return None
        width = channels(self.given.d_memory or self.given.d_in)
        values = torch.randn((batch, 5, *width), generator=torch.Generator().manual_seed(2000 + seed))
        lengths = [5 - (b % 3) for b in range(batch)]
        if empty:
            lengths[0] = 0
        x = Seq.ragged(values, torch.tensor(lengths))
        return Seq(x.zeroed(), x.mask)

    @staticmethod
    def run(layer: Layer, x: Seq, memory: Seq | None = None) -> Seq:
        """forward, with memory where the layer takes it."""
        y = layer(x, memory) if layer.takes_memory else layer(x)
        if not isinstance(y, Seq):
            raise LawError(f"forward gives a {type(y).__name__}, not a Seq")
        return y

    def start(self, layer: Layer, batch: int, memory: Seq | None = None) -> State:
        """The initial state in the layer's own dtype."""
        if layer.takes_memory and memory is None:
            memory = self.memory(batch)
            memory = widened(memory) if layer is self.__dict__.get("truth") else memory
        return layer.init_state(batch, like=self.like(layer), memory=memory)

    def like(self, layer: Layer) -> Tensor:
        """Gives a new state its dtype, also for a layer without parameters."""
        wide = layer is self.__dict__.get("truth")
        own = next((p.dtype for p in layer.parameters() if p.is_floating_point()), None)
        return torch.empty(0, dtype=own or (torch.float64 if wide else torch.float32))

    def steps(
        self, layer: Layer, x: Seq, sizes: Iterable[int] = (1,), *, state: State, memory: Seq | None = None
    ) -> tuple[Seq, State]:
        """All outputs of steps of that many blocks (the last number repeats), warm-up included, and the last state."""
        spec, at, parts = self.spec, 0, []
        total, queue = x.mask.shape[1], list(sizes) or [1]
        if total % spec.block:
            raise ValueError(f"{total} frames are no multiple of the block {spec.block}")
        while at < total:
            frames = min(spec.block * (queue.pop(0) if len(queue) > 1 else queue[0]), total - at)
            part = x.slice(at, at + frames)
            y, state = layer.step(part, state, memory) if layer.takes_memory else layer.step(part, state)
            if y.mask.shape[1] != frames * spec.ratio:
                raise LawError(
                    f"step of {frames} frames gives {y.mask.shape[1]}, not {frames * spec.ratio} as its ratio says",
                    tensor="values",
                )
            parts.append(y)
            at += frames
        if not parts:
            return Seq.absent(len(x.mask), 0, channels(layer.d_out), self.like(layer)), state
        return Seq(torch.cat([p.values for p in parts], 1), torch.cat([p.mask for p in parts], 1)), state

    def followed(self, x: Seq, extra: int = 0, *, poison: bool = False) -> Seq:
        """x and the absent frames that bring everything out: a multiple of the block."""
        total = x.mask.shape[1] + self.spec.flush_frames + extra
        behind = total + -total % self.spec.block - x.mask.shape[1]
        absent = Seq.absent(len(x.mask), behind, x.values.shape[2:], x.values)
        return Seq.cat([x, poisoned(absent) if poison else absent]) if behind else x

    def streamed(
        self, layer: Layer, x: Seq, sizes: Iterable[int] = (1,), *, memory: Seq | None = None, poison: bool = False
    ) -> Seq:
        """What steps give for x, aligned with forward; the frames before the delay must be absent."""
        y, _ = self.steps(
            layer, self.followed(x, poison=poison), sizes, state=self.start(layer, len(x.mask), memory), memory=memory
        )
        delay = self.spec.delay
        early = y.mask[:, :delay]
        if bool(early.any()):
            row, frame = early.nonzero()[0].tolist()
            raise LawError(
                f"step calls output frame {frame} of row {row} real, before its delay of {delay} is over",
                tensor="mask", row=row, frame=frame,
            )  # fmt: skip
        return y.slice(delay, delay + layer.frames(x.mask.shape[1]))


def widened(x: Seq | None) -> Seq | None:
    """The same in float64 (tokens stay as they are)."""
    if x is None or not x.values.is_floating_point():
        return x
    return Seq(x.values.double(), x.mask).hint(dense=x.dense, finite=x.finite)


def widened_seq(x: Seq) -> Seq:
    """`widened` for what is never None."""
    wide = widened(x)
    assert wide is not None
    return wide


def poisoned(x: Seq) -> Seq:
    """The same with NaN, or token -2^31, at every absent frame, and no hints."""
    bad = float("nan") if x.values.is_floating_point() else -(2**31)
    return Seq(torch.where(x.expand_mask(), x.values, torch.full_like(x.values, bad)), x.mask)


def caches(state: State, prefix: str = "") -> dict[str, Tensor | None]:
    """For each tensor of a state the mask that tells its valid entries, None where it accumulates.

    Tensors beside one named "mask" are caches: what they hold at absent entries is undefined.
    """
    found: dict[str, Tensor | None] = {}
    mask = state.get("mask")
    for key, value in state.items():
        if isinstance(value, dict):
            found |= caches(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = mask if isinstance(mask, Tensor) else None
    return found


def is_composite(layer: Layer) -> bool:
    """Made of other layers."""
    return any(isinstance(m, Layer) for m in layer.modules() if m is not layer)
