"""Search: the likeliest target, one word after another, greedily or along several beams."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lamina.core import Layer, Seq, State, UserError
from lamina.core import state as trees
from lamina.layers import CausalAttention

__all__ = ["Teller", "search"]


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
    decoder = _bounded(teller.decoder, most)
    memory = teller.encode(source)
    state = decoder.init_state(len(source.mask), memory=memory)
    run = _greedy if beams == 1 else lambda *given: _beams(*given, beams, length_penalty)
    return [_until(row, teller.end) for row in run(teller, decoder, state, len(source.mask), most).tolist()]


def _bounded(decoder: Layer, most: int) -> Layer:
    """The decoder with the same weights and caches of at most so many frames: no target is longer."""
    same = copy.deepcopy(decoder, {id(p): p for p in decoder.parameters()}).eval()
    for layer in same.modules():
        if isinstance(layer, CausalAttention) and layer.capacity is not None:
            layer.capacity = min(layer.capacity, most)
    return same


def _next(teller: Teller, decoder: Layer, tokens: Tensor, state: State) -> tuple[Tensor, State]:
    """Logits [B,n_vocab] behind tokens [B]."""
    frames, state = decoder.step(teller.stem(Seq.of(tokens[:, None])), state)
    return teller.head(frames.values)[:, 0], state


def _greedy(teller: Teller, decoder: Layer, state: State, rows: int, most: int) -> Tensor:
    """[B,<=most] tokens, whatever they are behind a row's end."""
    words = [torch.full((rows,), teller.begin)]
    ended = torch.zeros(rows, dtype=torch.bool)
    while len(words) <= most and not ended.all():
        logits, state = _next(teller, decoder, words[-1], state)
        words.append(logits.argmax(-1))
        ended |= words[-1] == teller.end
    return torch.stack(words[1:], 1) if rows else torch.zeros(0, 0, dtype=torch.int64)


def _beams(
    teller: Teller, decoder: Layer, state: State, rows: int, most: int, beams: int, length_penalty: float
) -> Tensor:
    """[B,most] tokens: of each row the best finished beam, or the best that was never finished."""
    state = trees.gather(state, torch.arange(rows).repeat_interleave(beams))
    offset = torch.arange(rows)[:, None] * beams
    live = torch.full((rows, beams), -torch.inf)  # sums of log p of the beams that go on
    live[:, 0] = 0.0
    told = torch.full((rows, beams, most), teller.end)
    best, kept = torch.full((rows, beams), -torch.inf), told.clone()  # of the finished ones: scores, words
    tokens, done = torch.full((rows * beams,), teller.begin), torch.zeros(rows, 1, dtype=torch.bool)
    for length in range(1, most + 1):
        logits, state = _next(teller, decoder, tokens, state)
        total = live[..., None] + logits.log_softmax(-1).unflatten(0, (rows, beams))
        n_vocab = total.shape[-1]
        sums, at = total.flatten(1).topk(2 * beams, 1)
        parent, word = at // n_vocab, at % n_vocab
        ends = word == teller.end
        grown = told.gather(1, parent[..., None].expand(-1, -1, most))
        grown[..., length - 1] = word
        # an end among the best `beams` is finished; the best that do not end go on
        finished = (sums / length**length_penalty).where(ends, -torch.inf).where(~done, -torch.inf)
        finished[:, beams:] = -torch.inf
        best, first = torch.cat([best, finished], 1).topk(beams, 1)
        kept = torch.cat([kept, grown], 1).gather(1, first[..., None].expand(-1, -1, most))
        live, on = sums.where(~ends, -torch.inf).topk(beams, 1)
        told = grown.gather(1, on[..., None].expand(-1, -1, most))
        done |= best[:, -1:] >= live[:, :1] / length**length_penalty
        if length == most:  # what was never finished counts as it is
            best, first = torch.cat([best, (live / length**length_penalty).where(~done, -torch.inf)], 1).topk(beams, 1)
            kept = torch.cat([kept, told], 1).gather(1, first[..., None].expand(-1, -1, most))
        if done.all():
            break
        state = _moved(state, (offset + parent.gather(1, on)).flatten())
        tokens = told[..., length - 1].flatten()
    return kept[:, 0]


def _moved(state: State, rows: Tensor) -> State:
    """The states of the beams that go on; nothing is copied where each goes on from itself."""
    return state if bool((rows == torch.arange(len(rows))).all()) else trees.gather(state, rows)


def _until(row: list[int], end: int) -> list[int]:
    return row[: row.index(end)] if end in row else row
