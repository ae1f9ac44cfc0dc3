"""Greedy decoding of an encoder-decoder: a whole target told word by word, with the peer's own loop beside it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from lamina.bench.case import Case
from lamina.bench.peers.marian import GENERATE
from lamina.bench.row import Row, Target
from lamina.bench.work import Work
from lamina.core import Seq
from lamina.interop.marian import MARIAN, Marian
from lamina.tasks import search

__all__ = ["translate_row", "translate_rows"]

VOCABULARY, HEADS = 8000, 4


def translate_row(B: int, S: int, U: int, width: int, n_layers: int, target: Target) -> Row:
    """Sources of S frames, targets of U words that do not end before."""
    sizes = (width, n_layers)
    weights = sum(m.weight.numel() for m in _model(*sizes).modules() if isinstance(m, nn.Linear))
    count = Work(
        2 * B * U * weights, 2 * n_layers * HEADS * B * U * (U // 2 + S), 4 * U * weights,
        "at most: flops 2 B U weights, exps of both attentions, bytes 4 U weights (every word reads them)",
    )  # fmt: skip
    shape = f"{n_layers}+{n_layers} layers B{B} S{S} U{U} d{width}"
    return Row(
        "translate", shape, partial(_case, sizes, (B, S), U), (GENERATE,), {"forward": count}, {"forward": target}
    )


@cache
def _model(width: int, n_layers: int) -> Marian:
    """A translator whose words differ, and which never ends."""
    sides: dict[str, Any] = {}
    for side in ("encoder", "decoder"):
        sides |= {f"{side}_layers": n_layers, f"{side}_attention_heads": HEADS, f"{side}_ffn_dim": 4 * width}
    config = {
        **sides, "model_type": "marian", "vocab_size": VOCABULARY, "d_model": width, "max_position_embeddings": 512,
        "activation_function": "relu", "dropout": 0.0, "scale_embedding": False, "pad_token_id": VOCABULARY - 1,
        "decoder_start_token_id": VOCABULARY - 1, "eos_token_id": 0,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = MARIAN.build(config, {})
        for weight in model.parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=(0.3 if len(weight) == VOCABULARY else 2) / weight.shape[1] ** 0.5)
        model.parts()[2].linear.bias[0] = -1e4  # type: ignore[index, union-attr]
    model.source = config
    return model.eval()  # type: ignore[return-value]


def _case(sizes: tuple[int, int], source: tuple[int, int], U: int, dtype: torch.dtype, piece: int | None) -> Case:
    """piece given: the definition, forward over all words so far for each next one."""
    model = _model(*sizes)
    if dtype == torch.float64:
        model = _model.__wrapped__(*sizes).double()
    words = torch.randint(1, VOCABULARY - 1, source, generator=torch.Generator().manual_seed(1))
    frames = model.parts()[0](Seq.of(words)).values.detach()

    def run(leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        teller = replace(model.teller(), encode=model.parts()[1].encoder)  # of frames that are embedded already
        told = search(teller, Seq.of(leaves["x"]), beams=1, most=U)
        return {"y": torch.tensor(told).to(dtype)}

    def define(leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        stem, backbone, head = model.parts()
        told = torch.full((source[0], 1), VOCABULARY - 1)
        for _ in range(U):
            logits = head(backbone(stem(Seq.of(told)), Seq.of(leaves["x"]))).values[:, -1, : VOCABULARY - 1]
            told = torch.cat([told, logits.argmax(-1, keepdim=True)], 1)
        return {"y": told[:, 1:].to(dtype)}

    return Case({"x": frames}, define if piece else run, module=model)


def translate_rows() -> tuple[Row, ...]:
    return translate_row(1, 32, 64, 256, 4, Target(2, 4)), translate_row(16, 32, 64, 256, 4, Target(2, 4))
