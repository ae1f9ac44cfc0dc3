"""BERT's checkpoints: plain, masked-LM, pretraining, and with a head on the sentence, on each token or on a span."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from lamina.core import Layer, Seq, UserError
from lamina.interop.family import Family, Pretrained, wanted
from lamina.interop.weights import Shapes, Weight
from lamina.layers import Linear, SegmentEmbedding
from lamina.models import create
from lamina.models.bert import word_head

__all__ = ["BERT", "Bert"]

SENTENCE = ("cls.seq_relationship", "classifier")  # on the pooled sentence: is B the next one, or its class
DECODER = "cls.predictions.decoder"  # the output weights, where they are not the embedding's
FRAME = ("classifier", "qa_outputs")  # on every token: its class, or whether a span begins and ends there


class Bert(Pretrained):
    """BERT as it was saved: frames, logits of the hidden words [B,T,n_vocab], or those of a head on every token.

    sentences(x): what stands on the sentence as a whole. Devlin et al. 2018, arXiv:1810.04805.
    """

    def __init__(self, stem: Layer, backbone: Layer, head: Layer | None, pooled: bool, n_sentence: int) -> None:
        super().__init__(stem, backbone, head)
        d_model = cast(int, backbone.d_out)
        self.pooler = nn.Linear(d_model, d_model) if pooled else None
        self.sentence = nn.Linear(d_model, n_sentence) if n_sentence else None

    def sentences(self, x: Seq) -> Tensor:
        """tanh(W h_0 + b) [B,D]; where the checkpoint has a head on it (next sentence, classes), its logits [B,n]."""
        if self.pooler is None:
            raise UserError("this checkpoint has no pooler; it gives frames only")
        pooled = torch.tanh(self.pooler(self.encode(x).zeroed()[:, 0]))
        return pooled if self.sentence is None else self.sentence(pooled)


def build(config: dict[str, Any], names: Shapes) -> Bert:
    wanted(config, hidden_act="gelu", position_embedding_type="absolute", is_decoder=False)
    n_vocab, d_model, eps = config["vocab_size"], config["hidden_size"], config.get("layer_norm_eps", 1e-12)
    stem = SegmentEmbedding(n_vocab, d_model, _separator(config), config["type_vocab_size"])
    backbone = create(
        "bert",
        d_model=d_model,
        n_layers=config["num_hidden_layers"],
        n_heads=config["num_attention_heads"],
        d_ff=config["intermediate_size"],
        capacity=config["max_position_embeddings"],
        dropout=config.get("hidden_dropout_prob", 0.1),
        eps=eps,
    )
    pooled = _named(names, "pooler.dense.weight")
    head: Layer | None = None
    if _named(names, "predictions.transform.dense.weight"):
        tied = config.get("tie_word_embeddings", True)
        head = word_head(d_model, stem.table if tied else nn.Embedding(n_vocab, d_model), eps)
    elif (of := _head(names, FRAME)) and not pooled:
        head = Linear(d_model, _labels(config, of))
    on_sentence = _head(names, SENTENCE) if pooled else ""
    return Bert(stem, cast(Layer, backbone), head, pooled, _labels(config, on_sentence) if on_sentence else 0)


def table(config: dict[str, Any], names: Shapes) -> list[Weight]:
    before = "bert." if _named(names, "bert.embeddings.word_embeddings.weight") else ""
    body, inner = _places(config)
    tied, table_of = config.get("tie_word_embeddings", True), f"{before}embeddings.word_embeddings.weight"
    rows = [
        ("0.table", f"{before}embeddings.word_embeddings", ("weight",)),
        ("0.segments", f"{before}embeddings.token_type_embeddings", ("weight",)),
        ("1.0.table", f"{before}embeddings.position_embeddings", ("weight",)),
        ("1.1.norm", f"{before}embeddings.LayerNorm", ("weight", "bias")),
    ]
    both = ("weight", "bias")
    found: list[Weight] = []
    for i in range(config["num_hidden_layers"]):
        theirs, at = f"{before}encoder.layer.{i}", f"1.{body}.body"
        found += [
            Weight(
                f"{at}.{4 * i}.{inner}.qkv.{p}",
                tuple(f"{theirs}.attention.self.{x}.{p}" for x in ("query", "key", "value")),
            )
            for p in both
        ]
        rows += [
            (f"{at}.{4 * i}.{inner}.out", f"{theirs}.attention.output.dense", both),
            (f"{at}.{4 * i + 1}.norm", f"{theirs}.attention.output.LayerNorm", both),
            (f"{at}.{4 * i + 2}.{inner}.0.linear", f"{theirs}.intermediate.dense", both),
            (f"{at}.{4 * i + 2}.{inner}.2.linear", f"{theirs}.output.dense", both),
            (f"{at}.{4 * i + 3}.norm", f"{theirs}.output.LayerNorm", both),
        ]
    pooled = _named(names, "pooler.dense.weight")
    if pooled:
        rows.append(("pooler", f"{before}pooler.dense", both))
        if of := _head(names, SENTENCE):
            rows.append(("sentence", of, both))
    elif of := _head(names, FRAME):
        rows.append(("2.linear", of, both))
    if _named(names, "predictions.transform.dense.weight"):
        rows += [
            ("2.0.linear", "cls.predictions.transform.dense", both),
            ("2.2.norm", "cls.predictions.transform.LayerNorm", both),
        ]
        found += [
            Weight("2.3.linear.bias", ("cls.predictions.bias" if tied else f"{DECODER}.bias",)),
            Weight("2.3.linear.weight", (table_of if tied else f"{DECODER}.weight",)),
        ]
    return found + [Weight(f"{ours}.{p}", (f"{theirs}.{p}",)) for ours, theirs, parts in rows for p in parts]


def block(config: dict[str, Any], i: int) -> str:
    return f"1.{_places(config)[0]}.body.{4 * i + 3}"


def _places(config: dict[str, Any]) -> tuple[int, str]:
    """Where the blocks stand in the backbone, and a body in its residual: dropout shifts both."""
    return (3, "1.0") if config.get("hidden_dropout_prob", 0.1) else (2, "1")


def _named(names: Shapes, end: str) -> bool:
    return any(name.endswith(end) for name in names)


def _head(names: Shapes, which: tuple[str, ...]) -> str:
    return next((name for name in which if f"{name}.weight" in names), "")


def _labels(config: dict[str, Any], head: str) -> int:
    if head in ("cls.seq_relationship", "qa_outputs"):
        return 2
    return len(config["id2label"]) if "id2label" in config else config.get("num_labels", 2)


def _separator(config: dict[str, Any]) -> int:
    found = config.get("sep_token_id")
    if found is None:
        raise UserError("which token ends a sentence? write it into config.json as sep_token_id, or add the tokenizer")
    return int(found)


BERT = Family(
    name="bert",
    build=build,
    table=table,
    block=block,
    # what is not learnt, and what is there twice: output weights that are the embedding's, and the bias
    ignored=("*position_ids", "*token_type_ids", "cls.predictions.decoder.*", "cls.predictions.bias"),
)
