"""Encoders: BERT's by transformers, the plain Transformer's by x-transformers, with our weights in them."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from lamina.bench.case import Case
from lamina.bench.peer import Peer
from lamina.interop.bert import BERT
from lamina.interop.weights import Weight, give, shapes_of

__all__ = ["BERT_SDPA", "X_TRANSFORMERS"]


def _bert(ours: Case) -> Case:
    """BertModel on embedded frames: places, norms and blocks; its segments are zeros, its attention is sdpa."""
    import transformers

    model = cast(Any, ours.module)
    keys = model.config
    config = transformers.BertConfig(
        vocab_size=1, hidden_size=keys.d_model, num_hidden_layers=keys.n_layers, num_attention_heads=keys.n_heads,
        intermediate_size=keys.d_ff, max_position_embeddings=keys.capacity, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, layer_norm_eps=keys.eps, attn_implementation="sdpa",
    )  # fmt: skip
    theirs = transformers.BertModel(config, add_pooling_layer=False).eval()
    table = [weight for weight in BERT.table(config.to_dict(), {}) if weight.ours.startswith("1.")]
    weights = {f"1.{name}": t for name, t in model.state_dict().items()}
    theirs.load_state_dict(give(weights, table, shapes_of(theirs.state_dict())), strict=False)
    nn.init.zeros_(theirs.embeddings.token_type_embeddings.weight)
    theirs.embeddings.word_embeddings.requires_grad_(False)  # not used, so without gradient
    theirs.embeddings.token_type_embeddings.requires_grad_(False)
    mask = real(ours.leaves["x"])

    def run(leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        y = theirs(inputs_embeds=leaves["x"], attention_mask=mask).last_hidden_state
        return {"y": torch.where(mask[..., None], y, 0)}

    return Case(ours.leaves, run, module=theirs)


def real(x: Tensor) -> Tensor:
    """The mask [B,T] of a batch whose padding is zeros."""
    return (x.detach() != 0).any(-1)


def _x_transformers(ours: Case) -> Case:
    """Its Encoder without positions; flash is PyTorch's scaled_dot_product_attention."""
    from x_transformers import Encoder

    model = cast(Any, ours.module)
    keys = model.config
    theirs = Encoder(
        dim=keys.d_model, depth=keys.n_layers, heads=keys.n_heads, attn_dim_head=keys.d_model // keys.n_heads,
        ff_mult=keys.d_ff // keys.d_model, attn_flash=True,
    ).eval()  # fmt: skip
    table = [Weight(f"{2 * keys.n_layers}.norm.weight", ("final_norm.gamma",))]
    for i in range(2 * keys.n_layers):
        here, body = f"layers.{i}", f"{i}.1.1"
        table.append(Weight(f"{i}.1.0.norm.weight", (f"{here}.0.0.gamma",)))
        if i % 2:
            for ours_at, at in (("0.linear", "0.0"), ("2.linear", "2")):
                table += [Weight(f"{body}.{ours_at}.{p}", (f"{here}.1.ff.{at}.{p}",)) for p in ("weight", "bias")]
        else:
            table.append(Weight(f"{body}.qkv.weight", tuple(f"{here}.1.to_{part}.weight" for part in "qkv")))
            table.append(Weight(f"{body}.out.weight", (f"{here}.1.to_out.weight",)))
    theirs.load_state_dict(give(model.state_dict(), table, shapes_of(theirs.state_dict())), strict=False)
    for norm in theirs.modules():
        if getattr(norm, "unit_offset", False):  # it adds 1 to the weight
            norm.gamma.data -= 1
    return Case(ours.leaves, lambda leaves: {"y": theirs(leaves["x"])}, module=theirs)


BERT_SDPA = Peer("transformers sdpa", "transformers", "transformers", _bert, note="computes the padding too")
X_TRANSFORMERS = Peer(
    "x-transformers flash", "x-transformers", "x_transformers", _x_transformers,
    note="it has no biases in attention and norms: ours are zeros",
)  # fmt: skip
