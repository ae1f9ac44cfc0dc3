"""transformers' greedy generate with its cache, a MarianMT model with our weights in it."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from lamina.bench.case import Case
from lamina.bench.peer import Peer
from lamina.interop.marian import MARIAN
from lamina.interop.weights import give, shapes_of

__all__ = ["GENERATE"]


def _generate(ours: Case) -> Case:
    """sdpa attention, a dynamic cache, the source given as frames."""
    import transformers

    model = cast(Any, ours.module)
    config = transformers.MarianConfig(**model.source, attn_implementation="sdpa", forced_eos_token_id=None)
    with torch.random.fork_rng(devices=[]):
        theirs = transformers.MarianMTModel(config).eval()
    theirs.load_state_dict(
        give(model.state_dict(), MARIAN.table(model.source, {}), shapes_of(theirs.state_dict())), strict=False
    )
    theirs.tie_weights()
    with torch.no_grad():
        most = ours.run(ours.leaves)["y"].shape[1]

    def run(leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        mask = torch.ones(leaves["x"].shape[:2], dtype=torch.int64)
        told = theirs.generate(
            inputs_embeds=leaves["x"], attention_mask=mask, max_new_tokens=most, num_beams=1, do_sample=False,
            use_cache=True,
        )  # fmt: skip
        return {"y": told[:, 1:].to(leaves["x"].dtype)}

    return Case(ours.leaves, run, module=theirs)


GENERATE = Peer("transformers generate", "transformers", "transformers", _generate, note="sdpa, its dynamic cache")
