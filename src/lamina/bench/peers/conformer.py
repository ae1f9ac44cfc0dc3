"""Conformer by transformers, with relative positions and our weights in its layers."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from lamina.bench.case import Case
from lamina.bench.peer import Peer
from lamina.bench.peers.encoders import real
from lamina.core import Layer

__all__ = ["RELATIVE"]


def _layers_of(model: Any) -> tuple[nn.ModuleList, Any]:
    """Its encoder layers with the weights of our blocks, and what gives their positions."""
    import transformers
    from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer as theirs

    keys = model.config
    config = transformers.Wav2Vec2ConformerConfig(
        hidden_size=keys.d_model, num_attention_heads=keys.n_heads, intermediate_size=keys.d_ff, hidden_act="swish",
        conv_depthwise_kernel_size=keys.kernel, position_embeddings_type="relative", hidden_dropout=0.0,
        attention_dropout=0.0, activation_dropout=0.0, conformer_conv_dropout=0.0,
    )  # fmt: skip
    config._attn_implementation = "eager"
    layers = nn.ModuleList(theirs.Wav2Vec2ConformerEncoderLayer(config) for _ in range(keys.n_layers)).eval()
    blocks = [layer for _, layer in model.children_in_order()]
    for n, layer in enumerate(layers):
        _copy(layer, blocks[5 * n : 5 * n + 5])
    return layers, theirs.Wav2Vec2ConformerRelPositionalEmbedding(config)


@torch.no_grad()
def _copy(layer: Any, block: list[Layer]) -> None:
    """One of our blocks: half a feed-forward, attention, convolution, the other half, a norm."""
    half, attention, convolution, other, norm = (dict(part.named_modules()) for part in block)
    for ours, before, ffn in ((half, layer.ffn1_layer_norm, layer.ffn1), (other, layer.ffn2_layer_norm, layer.ffn2)):
        before.load_state_dict(ours["body.1.0.norm"].state_dict())
        ffn.intermediate_dense.load_state_dict(ours["body.1.1.0.linear"].state_dict())
        ffn.output_dense.load_state_dict(ours["body.1.1.2.linear"].state_dict())
    mixer, theirs = cast(Any, attention["body.1.1"]), layer.self_attn
    layer.self_attn_layer_norm.load_state_dict(attention["body.1.0.norm"].state_dict())
    for name, weight, bias in zip("qkv", mixer.qkv.weight.chunk(3), mixer.qkv.bias.chunk(3), strict=True):
        projection = getattr(theirs, f"linear_{name}")
        projection.weight.copy_(weight)
        projection.bias.copy_(bias)
    theirs.linear_out.load_state_dict(mixer.out.state_dict())
    theirs.linear_pos.weight.copy_(mixer.relative.project.weight)
    theirs.pos_bias_u.copy_(mixer.relative.u)
    theirs.pos_bias_v.copy_(mixer.relative.v)
    conv = layer.conv_module
    conv.layer_norm.load_state_dict(convolution["1.0.norm"].state_dict())
    conv.pointwise_conv1.weight.copy_(cast(Any, convolution["1.1.linear"]).weight[..., None])
    conv.depthwise_conv.weight.copy_(cast(Any, convolution["1.3.conv"]).weight)
    conv.batch_norm.load_state_dict(convolution["1.4"].state_dict(), strict=False)
    conv.pointwise_conv2.weight.copy_(cast(Any, convolution["1.6.linear"]).weight[..., None])
    layer.final_layer_norm.load_state_dict(norm["norm"].state_dict())


def _batch(ours: Case) -> Case:
    """The whole batch at once, as its encoder does: padding is zeros and is not attended to."""
    layers, places = _layers_of(ours.module)
    mask = real(ours.leaves["x"])
    added = torch.where(mask[:, None, None], 0.0, torch.finfo(torch.float32).min)
    added = added.expand(len(mask), 1, mask.shape[1], mask.shape[1])

    def run(leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        x = leaves["x"]
        at = places(x)
        for layer in layers:
            x = layer(x, attention_mask=added, relative_position_embeddings=at)
        return {"y": torch.where(mask[..., None], x, 0)}

    return Case(ours.leaves, run, module=layers)


def _alone(ours: Case) -> Case:
    """Each row without its padding, which the convolution of a batch reads."""
    layers, places = _layers_of(ours.module)
    lengths = real(ours.leaves["x"]).sum(1).tolist()

    def run(leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        rows = []
        for x, n in zip(leaves["x"].split(1), lengths, strict=True):
            y = x[:, :n]
            at = places(y)
            for layer in layers:
                y = layer(y, relative_position_embeddings=at)
            rows.append(nn.functional.pad(y, (0, 0, 0, x.shape[1] - n)))
        return {"y": torch.cat(rows)}

    return Case(ours.leaves, run, module=layers)


RELATIVE = Peer(
    "transformers relative", "transformers", "transformers", _batch, alone=_alone,
    note="in a batch its convolution reads the padding: compared on each row alone, timed in the batch",
)  # fmt: skip
