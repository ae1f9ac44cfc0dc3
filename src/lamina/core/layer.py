"""Layer: the contract between a training form (forward) and a streaming form (step)."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any, ClassVar, Union

import torch
from torch import Tensor, nn

from lamina.core.seq import Seq

__all__ = ["Layer", "NotStreamable", "Pointwise", "State", "StreamSpec", "Whole", "Width", "state_dtype"]

State = dict[str, Union[Tensor, "State"]]
Width = int | tuple[int, ...]


@dataclass(frozen=True)
class StreamSpec:
    """How a layer streams: step takes T = m * block frames and gives T * ratio of them, `delay` late.

    block is in input frames, ratio in output frames per input frame, delay in OUTPUT frames.
    """

    block: int = 1
    ratio: Fraction = Fraction(1)
    delay: int = 0

    @property
    def latency(self) -> Fraction:
        """Input frames from the first frame of a block to the answer for it: block + delay / ratio."""
        return self.block + self.delay / self.ratio

    @property
    def flush_frames(self) -> int:
        """Absent input frames that bring the last delayed outputs out."""
        return ceil(self.delay / self.ratio)


class NotStreamable(TypeError):
    """A layer that has no streaming form; the text names the layer's path and the reason."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.reason, self.path = reason, path

    def under(self, name: str) -> NotStreamable:
        """The same reason seen from the parent that calls the layer `name`."""
        return NotStreamable(self.reason, f"{name}.{self.path}" if self.path else name)


def state_dtype(like: Tensor) -> torch.dtype:
    """States are kept in float32 or wider, whatever the compute dtype."""
    return torch.promote_types(like.dtype, torch.float32)


class Layer(nn.Module, ABC):
    """forward is the training form, step the streaming form; both [B,T,*d_in] -> [B,T*ratio,*d_out].

    For every x and every split of it into blocks

        cat(steps(x + ceil(delay/ratio) absent frames))[delay:] == forward(x)

    on real frames: values, mask and gradients. `lamina.core.check` proves it layer by layer.

    step is pure: it returns a new state and leaves its arguments alone; it computes what evaluation computes,
    also while the layer is in training mode. Constructor arguments are recorded, so that every layer can be
    written to JSON and built again (`lamina.core.config`).
    """

    d_in: Width
    d_out: Width
    takes_memory: bool = False
    d_memory: Width = ()  # of a memory's frames, where it takes one; () is d_in
    n_vocab: int | None = None  # set where the input frames are token ids in 0..n_vocab-1 and d_in is ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__init__" in cls.__dict__:
            cls.__init__ = _recording(cls.__init__)  # type: ignore[method-assign]

    @abstractmethod
    def stream_spec(self) -> StreamSpec:
        """Block, ratio and delay; raises NotStreamable(reason) where there is no streaming form."""

    @abstractmethod
    def forward(self, x: Seq, memory: Seq | None = None) -> Seq: ...

    @abstractmethod
    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        """The state before the first frame: tensors only, batch on dim 0, constant shapes and dtypes.

        `like` gives device and compute dtype and is always floating (default: the first parameter).
        """

    @abstractmethod
    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        """The next T = m * block frames, m >= 1, from any state; prefill is a long step."""

    def step_rows(self, x: Seq, state: State, rows: Tensor, memory: Seq | None = None) -> Seq:
        """step of some rows of a batch that stays where it is: their states are written over, the others' left alone.

        x [R,T,*d_in] and memory [R,S,*] are of the rows [R] int64, each named once; state is of the whole batch, in
        tensors that share no memory. What many listeners need, who are never all ready. A layer with a long cache
        overrides it, so that nothing of it is copied.
        """
        more = (memory,) if self.takes_memory else ()
        if not state:
            return self.step(x, state, *more)[0]
        from lamina.core import state as trees

        y, new = self.step(x, trees.gather(state, rows), *more)
        trees.put(state, rows, new)
        return y

    def frames(self, n: int) -> int:
        """Output frames for n input frames."""
        return ceil(n * self.stream_spec().ratio)

    def like(self, like: Tensor | None) -> Tensor:
        """The tensor that gives device and dtype to a new state."""
        if like is not None:
            if not like.dtype.is_floating_point:
                raise TypeError(f"init_state(like=) gives the compute dtype and must be floating, not {like.dtype}")
            return like
        found = next((t for t in self.parameters() if t.dtype.is_floating_point), None)
        return torch.empty(0) if found is None else found


class Whole(Layer, ABC):
    """A layer that must see its whole input, and so has no streaming form. whole: the reason, and where it holds for
    one part alone the path of that part.
    """

    whole: ClassVar[tuple[str, ...]]

    def stream_spec(self) -> StreamSpec:
        raise NotStreamable(*self.whole)

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        raise NotStreamable(*self.whole)

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        raise NotStreamable(*self.whole)

    def frames(self, n: int) -> int:
        return n


class Pointwise(Layer, ABC):
    """A layer without memory of other frames: step is forward. [B,T,*d_in] -> [B,T,*d_out], state {} (0 bytes)."""

    def stream_spec(self) -> StreamSpec:
        return StreamSpec()

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        return {}

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        return self.forward(x), {}

    def frames(self, n: int) -> int:
        return n


def _recording(init: Callable[..., None]) -> Callable[..., None]:
    """Keeps the arguments of the outermost constructor, for `lamina.core.config`."""

    @functools.wraps(init)
    def _recorded(self: Any, *args: Any, **kwargs: Any) -> None:
        if "arguments" not in self.__dict__:
            bound = inspect.signature(init).bind(self, *args, **kwargs)
            bound.apply_defaults()
            recorded_arguments = dict(list(bound.arguments.items())[1:])
            self.__dict__["arguments"] = recorded_arguments
        init(self, *args, **kwargs)

    return _recorded
