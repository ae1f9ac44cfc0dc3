"""Hiding words: what a masked language model is asked (Devlin et al. 2018, arXiv:1810.04805, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.data.dataset import NOT_ASKED, Split
from lamina.data.vocabulary import Vocabulary

__all__ = ["ask", "hide", "shown"]

CHOSEN, MASKED, DRAWN = 0.15, 0.8, 0.1  # of the words; of the chosen: shown as [MASK], as a word drawn at random


def hide(
    tokens: Tensor, lengths: Tensor | None, vocabulary: Vocabulary, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """tokens [B,T] -> what is shown and what is asked, both [B,T]: NOT_ASKED where the word was not chosen.

    Each real word is chosen with probability 0.15, in a row where none was, one. Of the chosen 80 % are shown as
    [MASK], 10 % as a word drawn at random, 10 % as they are. Special tokens are neither chosen nor drawn.
    """
    words = ~torch.isin(tokens, vocabulary.special)
    if lengths is not None:
        words &= torch.arange(tokens.shape[1]) < lengths[:, None]
    chance = torch.rand(tokens.shape, generator=generator).masked_fill(~words, 2.0)
    chosen = words & ((chance < CHOSEN) | (chance == chance.min(1, keepdim=True).values))
    how = torch.rand(tokens.shape, generator=generator)
    ordinary = vocabulary.ordinary
    drawn = ordinary[torch.randint(len(ordinary), tokens.shape, generator=generator)].to(tokens.dtype)
    shown = tokens.where(~(chosen & (how < MASKED)), vocabulary.mask)
    shown = shown.where(~(chosen & (how >= 1 - DRAWN)), drawn)
    return shown, tokens.where(chosen, NOT_ASKED)


def ask(
    tokens: Tensor, lengths: Tensor | None, follows: Tensor, vocabulary: Vocabulary, generator: torch.Generator
) -> Split:
    """Rows with hidden words, and at [CLS] the question whether the second sentence follows the first.

    follows [B] int: 0 it does, 1 it was drawn at random, NOT_ASKED there is no second.
    """
    x, y = hide(tokens, lengths, vocabulary, generator)
    y[:, 0] = follows
    return Split(x, y, lengths)


def shown(split: Split) -> Split:
    """The rows of `ask` with every word in sight; y is [N,1] the question at [CLS] alone."""
    tokens = split.x.where(split.y == NOT_ASKED, split.y)
    tokens[:, 0] = split.x[:, 0]
    return Split(tokens, split.y[:, :1], split.lengths)
