"""A structure that lamina trained, in the words of a Hugging Face family that computes the same."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

from torch import Tensor, nn

from lamina.core.config import UserError
from lamina.interop.bert import BERT
from lamina.interop.decoder import ACTIVATIONS, GPT2, LLAMA
from lamina.interop.family import Family
from lamina.interop.mamba import MAMBA
from lamina.interop.neox import NEOX
from lamina.interop.weights import give
from lamina.layers import Embedding
from lamina.models.stack import swiglu_width

__all__ = ["converted"]

Plain = dict[str, Any]


def converted(stem: nn.Module | None, backbone: nn.Module) -> tuple[Plain, dict[str, Tensor]]:
    """config.json and weights of a family's model of frames, [B,T] tokens -> [B,T,d_model], from a task's two parts.

    The families: bert, mamba, transformer with mixer=causal_attention (GPT-NeoX, without rotary positions GPT-2), and
    retnet with mixer=causal_attention (Llama). A UserError names the key that none of them has.
    """
    name = str(getattr(backbone, "name", type(backbone).__name__))
    if name not in KINDS:
        raise UserError(
            f"{name} has no family among Hugging Face's that is written here; these have: {', '.join(KINDS)}"
        )
    if not isinstance(stem, Embedding):
        raise UserError(f"Hugging Face's models take tokens alone, and this {name} has {_what(stem)} in front")
    family, said = KINDS[name](backbone.config.model_dump())  # type: ignore[union-attr, operator]
    config = {"model_type": family.name, "vocab_size": stem.n_vocab, "dtype": "float32"} | said
    ours = {f"0.{n}": t for n, t in stem.state_dict().items()} | {f"1.{n}": t for n, t in backbone.state_dict().items()}
    ours |= _nothing(family, config, stem)
    return config, give(ours, family.table(config, {}), {})


def _what(stem: nn.Module | None) -> str:
    return "nothing" if stem is None else "a short convolution" if len(list(stem.children())) > 1 else "a Linear"


def _nothing(family: Family, config: Plain, stem: Embedding) -> dict[str, Tensor]:
    """What the family adds to a token's vector and the structure does not: zeros."""
    like, width = stem.table.weight, stem.table.embedding_dim
    if family is BERT:
        return {"0.segments.weight": like.new_zeros(config["type_vocab_size"], width)}
    if family is GPT2:
        return {"0.0.table.weight": like, "0.1.table.weight": like.new_zeros(config["n_positions"], width)}
    return {}


def _only(keys: Plain, **values: Any) -> None:
    for key, value in values.items():
        if keys[key] != value:
            raise UserError(f"{key}={keys[key]!r} has no place in a Hugging Face model, only {key}={value!r}")


def _mamba(keys: Plain) -> tuple[Family, Plain]:
    _only(keys, mixer="mamba", selective=True)
    if not keys["short_conv"]:
        raise UserError("short_conv=0 has no place in a Hugging Face model, only a convolution of one tap and more")
    d_model = keys["d_model"]
    return MAMBA, {
        "architectures": ["MambaModel"],
        "hidden_size": d_model,
        "intermediate_size": keys["expand"] * d_model,
        "num_hidden_layers": keys["n_layers"],
        "state_size": keys["d_state"],
        "expand": keys["expand"],
        "conv_kernel": keys["short_conv"],
        "time_step_rank": ceil(d_model / 16),
        "layer_norm_epsilon": keys["eps"],
    }


def _transformer(keys: Plain) -> tuple[Family, Plain]:
    _only(keys, mixer="causal_attention", relative=False, short_conv=0, norm="pre")
    activation = next(theirs for theirs, ours in ACTIVATIONS.items() if ours == keys["activation"])
    if keys["rotary"]:
        return NEOX, {
            "architectures": ["GPTNeoXModel"],
            "hidden_size": keys["d_model"],
            "intermediate_size": keys["d_ff"] or 4 * keys["d_model"],
            "num_hidden_layers": keys["n_layers"],
            "num_attention_heads": keys["n_heads"],
            "max_position_embeddings": keys["capacity"],
            "hidden_act": activation,
            "use_parallel_residual": False,
            "rotary_pct": 1.0,
            "hidden_dropout": keys["dropout"],
            **NO_ENDS,
        }
    return GPT2, {
        "architectures": ["GPT2Model"],
        "n_embd": keys["d_model"],
        "n_layer": keys["n_layers"],
        "n_head": keys["n_heads"],
        "n_inner": keys["d_ff"],
        "n_positions": keys["capacity"],
        "activation_function": activation,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), keys["dropout"]),
        **NO_ENDS,
    }


def _llama(keys: Plain) -> tuple[Family, Plain]:
    _only(keys, mixer="causal_attention", rotary=True, relative=False, short_conv=0)
    return LLAMA, {
        "architectures": ["LlamaModel"],
        "hidden_size": keys["d_model"],
        "intermediate_size": keys["d_ff"] or swiglu_width(keys["d_model"]),
        "num_hidden_layers": keys["n_layers"],
        "num_attention_heads": keys["n_heads"],
        "max_position_embeddings": keys["capacity"],
        "rms_norm_eps": keys["eps"],
        "attention_bias": True,
        **NO_ENDS,
    }


def _bert(keys: Plain) -> tuple[Family, Plain]:
    return BERT, {
        "architectures": ["BertModel"],
        "hidden_size": keys["d_model"],
        "intermediate_size": keys["d_ff"] or 4 * keys["d_model"],
        "num_hidden_layers": keys["n_layers"],
        "num_attention_heads": keys["n_heads"],
        "max_position_embeddings": keys["capacity"],
        "hidden_dropout_prob": keys["dropout"],
        "layer_norm_eps": keys["eps"],
        "type_vocab_size": 2,
        **NO_ENDS,
    }


NO_ENDS = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))  # bytes and symbols have no such tokens
KINDS: dict[str, Callable[[Plain], tuple[Family, Plain]]] = {
    "bert": _bert,
    "transformer": _transformer,
    "mamba": _mamba,
    "retnet": _llama,
}
