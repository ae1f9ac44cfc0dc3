"""Generation: a language model writes on, token by token, from a state whose size does not change."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

import torch
from torch import Tensor, nn

from lamina.core import Captured, Layer, Seq, State, UserError
from lamina.core import state as trees
from lamina.tasks.lm import LanguageModel

__all__ = ["Writer", "choose"]


class Writer:
    """Reads a prompt, then writes on.

        writer = Writer(task)
        writer.read(torch.tensor(list(b"def ")))        # in one piece or in several: a long step each
        for token in writer.write(100, temperature=0.8, seed=1): ...

    task: a language model that lamina trained, or a layer from tokens to the logits of the next one. `state` is its
    state behind all that was read and written, a value that can be saved; `logits` [n_vocab] are those of the next
    token, None before the first was read.
    """

    def __init__(self, task: LanguageModel | Layer) -> None:
        self.head: nn.Module
        if isinstance(task, LanguageModel) and task.head is not None:
            self.head, self.encoder = task.head, task.eval().encoder()
        elif isinstance(task, Layer) and task.n_vocab:
            self.head, self.encoder = nn.Identity(), task.eval()
        else:
            raise UserError(f"{type(task).__name__} tells no next token; give a language model, such as one of `text`")
        self.step, self._state = Captured(self.encoder.step), self.encoder.init_state(1)
        self.logits: Tensor | None = None

    @property
    def state(self) -> State:
        return trees.map_tensors(Tensor.clone, self._state)

    @torch.no_grad()
    def read(self, tokens: Tensor) -> None:
        """Takes tokens [T] in, one step of T frames; T may be 0."""
        if not len(tokens):
            return
        frames, self._state = self.step(Seq.of(tokens.long()[None]), self._state)
        self.logits = self.head(frames.values[0, -1])

    def write(self, n: int, *, temperature: float = 1.0, top_p: float = 1.0, seed: int = 0) -> Iterator[int]:
        """Gives n tokens, each chosen by `choose` and read before it is given. The same seed writes the same."""
        if self.logits is None:
            raise UserError("there is nothing to write on from; read a prompt of at least one token first")
        if not isfinite(temperature) or temperature < 0:
            raise UserError(f"temperature {temperature:g}: it must be 0 (the likeliest token) or above")
        if not 0 < top_p <= 1:
            raise UserError(f"top-p {top_p:g}: it must be above 0 and at most 1")
        return self._write(n, temperature, top_p, torch.Generator().manual_seed(seed))

    def _write(self, n: int, temperature: float, top_p: float, generator: torch.Generator) -> Iterator[int]:
        for _ in range(n):
            assert self.logits is not None
            token = choose(self.logits, temperature, top_p, generator)
            self.read(torch.tensor([token], device=self.logits.device))
            yield token


def choose(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> int:
    """A token drawn from softmax(logits / temperature); logits [n_vocab]. Temperature 0 takes the likeliest.

    top_p < 1 draws from the fewest likeliest tokens that together have that probability (Holtzman et al. 2020,
    arXiv:1904.09751).
    """
    if temperature == 0:
        return int(logits.argmax())
    p, order = (logits.double().cpu() / temperature).softmax(0).sort(descending=True)
    p = p.where(p.cumsum(0) - p < top_p, 0.0)  # the first is always kept
    return int(order[torch.multinomial(p, 1, generator=generator)])
