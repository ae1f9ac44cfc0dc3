"""Masks of spans: frames that are hidden to be told, or so that a network relies on none of them alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lamina.core import Pointwise, Seq, State

__all__ = ["SpanMask", "spans"]


def spans(n: int, chance: float, span: int, *, least: int = 0, generator: torch.Generator | None = None) -> Tensor:
    """Which of n places are hidden, [n] bool: about `chance` * n of them begin a span of `span` (Baevski et al. 2020).

    Spans may overlap: at 0.065 and 10, as published, 49 % are hidden. At least `least` spans; none where n < span.
    """
    hidden = torch.zeros(n, dtype=torch.bool)
    places = n - span + 1
    if places < 1:
        return hidden
    count = max(least, int(chance * n + float(torch.rand((), generator=generator))))
    starts = torch.randperm(places, generator=generator)[:count]
    hidden[(starts[:, None] + torch.arange(span)).flatten()] = True
    return hidden


class SpanMask(Pointwise):
    """In training spans of frames become a learned vector, and spans of channels zero; otherwise y = x.

    chance, span: of `spans`, over the row's real frames; channels: the chance of a channel to begin a span of a twelfth
    of them (SpecAugment, Park et al. 2019, arXiv:1904.08779). [B,T,D] -> [B,T,D], no state.
    """

    def __init__(self, d_model: int, chance: float = 0.065, span: int = 10, channels: float = 0.0) -> None:
        super().__init__()
        if not 0 <= chance < 1 or not 0 <= channels < 1 or span < 1:
            raise ValueError(
                f"SpanMask: chance={chance} and channels={channels} lie in [0, 1), span={span} is at least 1"
            )
        self.d_in = self.d_out = d_model
        self.chance, self.span, self.channels = chance, span, channels
        self.vector = nn.Parameter(torch.rand(d_model))

    def draw(self, lengths: Sequence[int], frames: int, *, least: int = 0, seed: int | None = None) -> Tensor:
        """The frames to hide, [B,frames] bool, of rows of these lengths.

        seed: then a row's spans hang on it and on the row's length alone, not on the batch.
        """
        hidden = torch.zeros(len(lengths), frames, dtype=torch.bool)
        for row, n in enumerate(lengths):
            own = None if seed is None else torch.Generator().manual_seed(seed + n)
            hidden[row, :n] = spans(n, self.chance, self.span, least=least, generator=own)
        return hidden

    def hide(self, x: Seq, hidden: Tensor) -> Seq:
        """x with the vector at the hidden frames [B,T]."""
        return x.with_values(torch.where(hidden[..., None], self.vector.to(x.values.dtype), x.values))

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        if not self.training:
            return x.with_values(x.values, finite=x.finite)
        batch, frames, width = x.values.shape
        y = self.hide(x, self.draw(x.lengths().tolist(), frames).to(x.values.device))
        if not self.channels:
            return y
        span = max(1, width // 12)
        dropped = torch.stack([spans(width, self.channels, span) for _ in range(batch)]).to(x.values.device)
        return y.with_values(torch.where(dropped[:, None], 0, y.values))

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        return x.with_values(x.values, finite=x.finite), {}
