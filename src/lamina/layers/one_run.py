"""A layer whose forward and step are one function, with and without a state: what memories are."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from lamina.core import Layer, Seq, State, StreamSpec

__all__ = ["OneRun"]


class OneRun(Layer):
    """A subclass gives `run`; forward, step and the rest follow from it. [B,T,D] -> [B,T,D], block 1, delay 0."""

    def stream_spec(self) -> StreamSpec:
        return StreamSpec()

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        return x.with_values(self.run(x, None)[0])

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        y, new = self.run(x, state)
        return x.with_values(y), new

    def frames(self, n: int) -> int:
        return n

    @abstractmethod
    def run(self, x: Seq, state: State | None) -> tuple[Tensor, State]:
        """The outputs and the state behind them: forward without a state (padding stands to the right, where it harms
        nobody), step with one."""
