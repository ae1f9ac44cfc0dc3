"""Search: the likeliest target, one word after another, greedily or along several beams."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from lamina import ops
from lamina.core import Captured, Layer, Seq, State, UserError
from lamina.core import state as trees
from lamina.layers import CausalAttention

__all__ = ["Teller", "search"]

Module = TypeVar("Module", bound=nn.Module)

ROOM = 64  # frames that a cache has at first; it doubles


@dataclass(frozen=True)
class Teller:
    """What tells words: encode(tokens [B,S]) -> memory, decoder (a streaming layer that reads it) between a stem
    (tokens -> frames) and a head (frames [B,T,D] -> logits [B,T,n_vocab]); the tokens that begin and end a target.
    """

    encode: Callable[[Seq], Seq]
    stem: Layer
    decoder: Layer
    head: Callable[[Tensor], Tensor]
    begin: int
    end: int


@torch.no_grad()
def search(
    teller: Teller, source: Seq, *, beams: int = 4, most: int = 100, length_penalty: float = 0.6
) -> list[list[int]]:
    """The target of each source, begin and end left out: beam search of the best sum log p / words^length_penalty.

    source: tokens [B,S]. beams=1 takes the likeliest word every time. most: words of a target, its end included.
    A row is done when no beam that goes on can still beat its worst finished one (Wu et al. 2016, arXiv:1609.08144).
    """
    for name, value in (("beams", beams), ("most", most)):
        if value < 1:
            raise UserError(f"{name} {value}: it must be at least 1")
    memory = teller.encode(source)
    with ops.packed_weights():  # the decoder meets its own at every word
        if beams == 1:
            told = _greedy(_Stream(teller, memory, most))
        else:
            each = torch.arange(len(source.mask), device=memory.mask.device).repeat_interleave(beams)
            told = _beams(_Stream(teller, Seq(memory.values[each], memory.mask[each]), most), beams, length_penalty)
    return [_until(row, teller.end) for row in told.tolist()]


class _Stream:
    """Targets that are told word by word. The caches of attention grow with them, up to what the decoder holds."""

    def __init__(self, teller: Teller, memory: Seq, most: int) -> None:
        self.teller, self.memory, self.most, self.rows = teller, memory, most, len(memory.mask)
        self.device = memory.mask.device
        self.decoder = _own(teller.decoder).eval()
        caches = [layer for layer in self.decoder.modules() if isinstance(layer, CausalAttention)]
        self.caches = [(layer, most if layer.capacity is None else min(layer.capacity, most)) for layer in caches]
        self.step = Captured(self._step)
        self.length = self.room = 0
        self.state: State | None = None

    def begin(self) -> Tensor:
        return torch.full((self.rows,), self.teller.begin, device=self.device)

    def tell(self, tokens: Tensor) -> Tensor:
        """Logits [B,n_vocab] behind tokens [B]."""
        if self.length == self.room:
            self.room = max(ROOM, 2 * self.room)
            for layer, most in self.caches:
                layer.capacity = min(self.room, most)
            wider = self.decoder.init_state(self.rows, memory=self.memory)
            self.state = wider if self.state is None else trees.map_tensors(_behind, wider, self.state)
        assert self.state is not None
        told, self.state = self.step(Seq.of(tokens[:, None]), self.state)
        self.length += 1
        return told.values[:, 0]

    def _step(self, tokens: Seq, state: State) -> tuple[Seq, State]:
        frames, state = self.decoder.step(self.teller.stem(tokens), state)
        return frames.with_values(self.teller.head(frames.values)), state

    def go_on_from(self, rows: Tensor) -> None:
        """The beams that go on; nothing is copied where each goes on from itself."""
        if self.state is not None and not bool((rows == torch.arange(self.rows, device=self.device)).all()):
            self.state = trees.gather(self.state, rows)


def _own(module: Module) -> Module:
    """The same modules anew around the same weights: what is set on them stays here."""
    own = copy.copy(module)
    own._modules = {name: None if m is None else _own(m) for name, m in module._modules.items()}
    return own


def _behind(wider: Tensor, state: Tensor) -> Tensor:
    """A cache at the end of a wider one that is empty."""
    return state.clone() if wider.shape == state.shape else torch.cat([wider[:, state.shape[1] :], state], 1)


def _greedy(stream: _Stream) -> Tensor:
    """[B,<=most] tokens, whatever they are behind a row's end."""
    words, ended = [stream.begin()], torch.zeros(stream.rows, dtype=torch.bool, device=stream.device)
    while len(words) <= stream.most and not ended.all():
        words.append(stream.tell(words[-1]).argmax(-1))
        ended |= words[-1] == stream.teller.end
    return torch.stack(words[1:], 1) if len(words) > 1 else torch.zeros(0, 0, dtype=torch.int64)


def _beams(stream: _Stream, beams: int, length_penalty: float) -> Tensor:
    """[B,most] tokens: of each row the best finished beam, or the best that was never finished."""
    rows, most, end = stream.rows // beams, stream.most, stream.teller.end
    offset = torch.arange(rows, device=stream.device)[:, None] * beams
    none = torch.full((rows, beams), -torch.inf, device=stream.device)
    live, best = none.clone(), none  # sums of log p of the beams that go on; scores of the finished ones
    live[:, 0] = 0.0
    told = torch.full((rows, beams, most), end, device=stream.device)
    kept, tokens, done = told.clone(), stream.begin(), none[:, :1] > 0
    for length in range(1, most + 1):
        total = live[..., None] + stream.tell(tokens).log_softmax(-1).unflatten(0, (rows, beams))
        n_vocab = total.shape[-1]
        sums, at = total.flatten(1).topk(2 * beams, 1)
        parent, word = at // n_vocab, at % n_vocab
        ends = word == end
        grown = told.gather(1, parent[..., None].expand(-1, -1, most))
        grown[..., length - 1] = word
        # an end among the best `beams` is finished; the best that do not end go on
        finished = (sums / length**length_penalty).where(ends, -torch.inf).where(~done, -torch.inf)
        finished[:, beams:] = -torch.inf
        best, kept = _best(best, kept, finished, grown, beams)
        live, on = sums.where(~ends, -torch.inf).topk(beams, 1)
        told = grown.gather(1, on[..., None].expand(-1, -1, most))
        done |= best[:, -1:] >= live[:, :1] / length**length_penalty
        if done.all():
            break
        stream.go_on_from((offset + parent.gather(1, on)).flatten())
        tokens = told[..., length - 1].flatten()
    unfinished = (live / most**length_penalty).where(~done, -torch.inf)  # counts as it is
    return _best(best, kept, unfinished, told, beams)[1][:, 0]


def _best(scores: Tensor, words: Tensor, more: Tensor, other: Tensor, beams: int) -> tuple[Tensor, Tensor]:
    """The best of both, [B,beams] scores with their words [B,beams,most]."""
    found, at = torch.cat([scores, more], 1).topk(beams, 1)
    return found, torch.cat([words, other], 1).gather(1, at[..., None].expand(-1, -1, words.shape[2]))


def _until(row: list[int], end: int) -> list[int]:
    return row[: row.index(end)] if end in row else row
