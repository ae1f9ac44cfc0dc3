"""Alignment: which words of the source a decoder looks at while it tells each word of the target."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from lamina.core import Layer, Seq, UserError
from lamina.layers import AdditiveDecoder, MemoryAttention
from lamina.tasks.search import Teller

__all__ = ["alignment"]


@torch.no_grad()
def alignment(teller: Teller, source: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The weights of every attention to the source, by its path in the decoder: [H,U,S].

    source [S] tokens with their end; target [U] tokens as the decoder reads them, the beginning first: row u shows
    where it looked to tell the word behind target[u]. UserError where the decoder looks at nothing.
    """
    seen: dict[str, Tensor] = {}
    handles = []
    for path, layer in teller.decoder.named_modules():
        if isinstance(layer, MemoryAttention) or (isinstance(layer, AdditiveDecoder) and layer.attention):

            def look(module: Any, given: tuple[Seq, Seq], path: str = path) -> None:
                seen[path] = module.weights(*given)[0].transpose(0, 1)

            handles.append(layer.register_forward_pre_hook(look))
    if not handles:
        raise UserError("this decoder has no attention to the source, so there is nothing to draw")
    try:
        memory = teller.encode(Seq.of(source[None]))
        cast(Layer, teller.decoder)(teller.stem(Seq.of(target[None])), memory)
    finally:
        for handle in handles:
            handle.remove()
    return seen
