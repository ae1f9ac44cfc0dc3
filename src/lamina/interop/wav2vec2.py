"""wav2vec 2.0's checkpoints: of frames alone, of pretraining with its codes, and with a CTC head."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from lamina.core import Identity, Layer, Seq, UserError
from lamina.interop.encoder import pairs
from lamina.interop.family import Family, Pretrained, before, wanted
from lamina.interop.weights import Shapes, Weight, Weights, Whole, give
from lamina.layers import Linear
from lamina.models import create
from lamina.models.wav2vec2 import Contrast, Wav2Vec2

__all__ = ["WAV2VEC2", "Wav2Vec2Pretrained", "around", "built", "said"]

BOTH = ("weight", "bias")
# transformers stores the taps' lengths and directions under one of two names, by the version of torch
LENGTH = ("parametrizations.weight.original0", "weight_g")
DIRECTION = ("parametrizations.weight.original1", "weight_v")
CODES = "quantizer.codevectors"
PLACES = "1.4.0.1.0.conv"


class Wav2Vec2Pretrained(Pretrained):
    """wav2vec 2.0 as it was saved: samples [B,T,1] -> frames, or a CTC head's logits.

    The samples are to be at mean 0 and variance 1, as their processor makes them; the option level=True does it here.

    contrast: what pretraining had beside it, None where the checkpoint holds none. Baevski et al. 2020.
    """

    def __init__(self, backbone: Layer, head: Layer | None, contrast: Contrast | None) -> None:
        super().__init__(Identity(1), backbone, head)
        self.contrast = contrast

    def contrasted(self, x: Seq, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Both sides of the contrast, [B,T',d_told] each: of the frames with those at `hidden` [B,T'] masked, and of
        their codes.
        """
        if self.contrast is None:
            raise UserError("this checkpoint has no codes; give one that Wav2Vec2ForPreTraining saved")
        net = cast(Wav2Vec2, next(layer for name, layer in self.children_in_order() if name == "1"))
        z = net.hear(x)
        chosen = self.contrast.quantizer.choose(z.zeroed(), noisy=False)
        return self.contrast.context(net.relate(z, hidden).zeroed()), self.contrast.code(chosen.values)


def build(config: dict[str, Any], names: Shapes) -> Wav2Vec2Pretrained:
    wanted(config, hidden_act="gelu")
    return built(
        config,
        names,
        norm="pre" if config.get("do_stable_layer_norm") else "post",
        kernel=config.get("num_conv_pos_embeddings", 128),
        groups=config.get("num_conv_pos_embedding_groups", 16),
    )


def built(config: dict[str, Any], names: Shapes, **keys: Any) -> Wav2Vec2Pretrained:
    """The network with fresh weights; keys: those of its blocks."""
    wanted(
        config, feat_extract_activation="gelu", layer_norm_eps=1e-5, add_adapter=False, adapter_attn_dim=None,
        num_feat_extract_layers=len(config["conv_dim"]),
    )  # fmt: skip
    span = config.get("mask_time_length", 10)
    backbone = create(
        "wav2vec2",
        d_model=config["hidden_size"],
        n_layers=config["num_hidden_layers"],
        n_heads=config["num_attention_heads"],
        d_ff=config["intermediate_size"],
        dropout=config.get("hidden_dropout", 0.1),
        conv_channels=config["conv_dim"],
        conv_kernels=config["conv_kernel"],
        conv_strides=config["conv_stride"],
        conv_norm=config.get("feat_extract_norm", "group"),
        conv_bias=config.get("conv_bias", False),
        level=config["level"],
        mask=min(0.99, config.get("mask_time_prob", 0.05) / span),
        span=span,
        **keys,
    )
    head, contrast = None, None
    if "lm_head.weight" in names:
        head = Linear(config["hidden_size"], names["lm_head.weight"][0])
    if CODES in names:
        contrast = Contrast(
            config["conv_dim"][-1],
            config["hidden_size"],
            config["codevector_dim"],
            config["num_codevector_groups"],
            config["num_codevectors_per_group"],
            names["project_hid.weight"][0],
        )
    return Wav2Vec2Pretrained(cast(Layer, backbone), head, contrast)


def table(config: dict[str, Any], names: Shapes) -> list[Weight]:
    found, root = around(config, names, "wav2vec2."), before(names, "wav2vec2.")
    post, drop = _form(config)
    places = f"{root}encoder.pos_conv_embed.conv"
    new = f"{places}.{LENGTH[1]}" not in names
    found += [
        Weight(f"{PLACES}.length", (f"{places}.{LENGTH[0 if new else 1]}",)),
        Weight(f"{PLACES}.weight", (f"{places}.{DIRECTION[0 if new else 1]}",)),
        Weight(f"{PLACES}.bias", (f"{places}.bias",)),
    ]
    rows = []
    for i in range(config["num_hidden_layers"]):
        attention, ffn, norms = _block(config, i)
        theirs = f"{root}encoder.layers.{i}"
        found += [
            Weight(f"{attention}.qkv.{p}", tuple(f"{theirs}.attention.{x}_proj.{p}" for x in "qkv")) for p in BOTH
        ]
        rows += [
            (f"{attention}.out", f"{theirs}.attention.out_proj"),
            (f"{norms[0]}.norm", f"{theirs}.layer_norm"),
            (f"{ffn}.0.linear", f"{theirs}.feed_forward.intermediate_dense"),
            (f"{ffn}.2.linear", f"{theirs}.feed_forward.output_dense"),
            (f"{norms[1]}.norm", f"{theirs}.final_layer_norm"),
        ]
    last = "1.4.1.norm" if post else f"1.4.{1 + drop}.body.{2 * config['num_hidden_layers']}.norm"
    return found + pairs([*rows, (last, f"{root}encoder.layer_norm")])


def around(config: dict[str, Any], names: Shapes, word: str) -> list[Weight]:
    """What is not the blocks': the convolutions over samples and their norms, the mask, the heads."""
    root = before(names, word)
    theirs = f"{root}feature_extractor.conv_layers"
    group, found, at = config.get("feat_extract_norm", "group") == "group", list[Weight](), int(config["level"])
    for i in range(len(config["conv_dim"])):
        parts = BOTH if config.get("conv_bias", False) else ("weight",)
        found += [Weight(f"1.0.{at}.conv.{p}", (f"{theirs}.{i}.conv.{p}",)) for p in parts]
        normed = i == 0 or not group
        if normed:
            inner = "" if group else "norm."
            found += [Weight(f"1.0.{at + 1}.{inner}{p}", (f"{theirs}.{i}.layer_norm.{p}",)) for p in BOTH]
        at += 3 if normed else 2
    found.append(Weight("1.3.vector", (f"{root}masked_spec_embed",)))
    rows = [("1.1.norm", f"{root}feature_projection.layer_norm"),
            ("1.2.linear", f"{root}feature_projection.projection")]  # fmt: skip
    if "lm_head.weight" in names:
        rows.append(("2.linear", "lm_head"))
    if CODES in names:
        rows += [
            ("contrast.quantizer.logits", "quantizer.weight_proj"),
            ("contrast.context", "project_hid"),
            ("contrast.code", "project_q"),
        ]
        found.append(Weight("contrast.quantizer.table", (CODES,), whole=_codes(config["num_codevector_groups"])))
    return found + pairs(rows)


def _block(config: dict[str, Any], i: int) -> tuple[str, str, tuple[str, str]]:
    """A block's attention, its feed-forward, and the norms of both."""
    post, drop = _form(config)
    body = f"1.4.{1 + post + drop}.body"
    if post:
        inner = "1.0" if drop else "1"
        return (f"{body}.{4 * i}.{inner}", f"{body}.{4 * i + 2}.{inner}",
                (f"{body}.{4 * i + 1}", f"{body}.{4 * i + 3}"))  # fmt: skip
    one, other = f"{body}.{2 * i}.1", f"{body}.{2 * i + 1}.1"
    return f"{one}.1", f"{other}.1", (f"{one}.0", f"{other}.0")


def _codes(n_groups: int) -> Whole:
    """[1,G*V,K] as [G,V,K]."""
    return Whole(lambda parts: parts[0][0].unflatten(0, (n_groups, -1)), lambda ours: [ours.flatten(0, 1)[None]])


def _form(config: dict[str, Any]) -> tuple[bool, bool]:
    """Norms behind the sums; a dropout layer."""
    return not config.get("do_stable_layer_norm"), bool(config.get("hidden_dropout", 0.1))


def block(config: dict[str, Any], i: int) -> str:
    post, drop = _form(config)
    return f"1.4.{1 + post + drop}.body.{4 * i + 3 if post else 2 * i + 1}"


def said(backbone: Layer, head: nn.Module | None, contrast: nn.Module | None) -> tuple[dict[str, Any], Weights]:
    """What lamina trained, as config.json and weights of theirs: with a CTC head, with codes, or of frames alone."""
    keys: dict[str, Any] = backbone.config.model_dump(mode="json")  # type: ignore[union-attr, operator]
    if keys["blocks"] != "transformer":
        raise UserError(f"blocks={keys['blocks']!r} has no place in a Hugging Face model, only blocks='transformer'")
    ours = {f"1.{n}": t for n, t in backbone.state_dict().items()}
    kind, names = "Model", {}
    config = {
        "model_type": "wav2vec2",
        "hidden_size": keys["d_model"],
        "num_hidden_layers": keys["n_layers"],
        "num_attention_heads": keys["n_heads"],
        "intermediate_size": keys["d_ff"] or 4 * keys["d_model"],
        "hidden_dropout": keys["dropout"],
        "do_stable_layer_norm": keys["norm"] == "pre",
        "conv_dim": keys["conv_channels"],
        "conv_kernel": keys["conv_kernels"],
        "conv_stride": keys["conv_strides"],
        "feat_extract_norm": keys["conv_norm"],
        "conv_bias": keys["conv_bias"],
        "num_conv_pos_embeddings": keys["kernel"],
        "num_conv_pos_embedding_groups": keys["groups"],
        "mask_time_prob": keys["mask"] * keys["span"],
        "mask_time_length": keys["span"],
        "pad_token_id": 0,  # the blank
        "dtype": "float32",
    }
    if head is not None:
        kind, names = "ForCTC", {"wav2vec2.": (), "lm_head.weight": ()}
        ours |= {f"2.linear.{n}": t for n, t in head.state_dict().items()}
        config["vocab_size"] = len(ours["2.linear.bias"])
    elif contrast is not None:
        kind, names = "ForPreTraining", {"wav2vec2.": (), CODES: ()}
        ours |= {f"contrast.{n}": t for n, t in contrast.state_dict().items()}
        groups, codes, width = ours["contrast.quantizer.table"].shape
        config |= {
            "num_codevector_groups": groups,
            "num_codevectors_per_group": codes,
            "codevector_dim": groups * width,
            "proj_codevector_dim": len(ours["contrast.code.bias"]),
        }
    weights = give(ours, table(config | {"level": keys["level"]}, names), {})
    return config | {"architectures": [f"Wav2Vec2{kind}"]}, weights


WAV2VEC2 = Family(name="wav2vec2", build=build, table=table, block=block, options={"level": False})
