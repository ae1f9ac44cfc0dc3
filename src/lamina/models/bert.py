"""BERT: Pre-training of Deep Bidirectional Transformers (Devlin et al. 2018); padding is not computed."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import nn

from lamina.core import Config, Layer, Residual, Serial
from lamina.core.config import UserError
from lamina.layers import Activation, FeedForward, LayerNorm, LearnedPosition, Linear, Unpadded, WindowAttention
from lamina.models.model import Knob, Model
from lamina.models.stack import dropout

__all__ = ["BERT", "word_head"]

EPS = 1e-12  # of the layer norms


class BertStack(Config):
    """Blocks of attention over the whole input and feed-forward, norms behind the sums."""

    d_model: int = Field(64, ge=1)
    n_layers: int = Field(2, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    d_ff: int | None = Field(None, ge=1, description="default 4 * d_model")
    n_heads: int = Field(4, ge=1)
    capacity: int = Field(512, ge=1, description="places with a learned position: the longest input")
    eps: float = Field(EPS, gt=0, description="of the layer norms")


def build(config: Any) -> Layer:
    """Position, norm, then norm(x + attention(x)), norm(x + ffn(x)), n_layers times: [B,T,d_model] -> [B,T,d_model]."""
    d_model, eps = config.d_model, config.eps
    blocks: list[Layer] = []
    for _ in range(config.n_layers):
        for body in (_attention(config), FeedForward(d_model, config.d_ff or 4 * d_model)):
            blocks += [Residual(body, *dropout(config)), LayerNorm(d_model, eps)]
    places = LearnedPosition(d_model, config.capacity)
    return Serial(places, LayerNorm(d_model, eps), *dropout(config), Unpadded(Serial(*blocks)))


def word_head(d_in: int, table: nn.Embedding, eps: float = EPS) -> Serial:
    """Tells words: y = E norm(gelu(W x + b)) + c, with E the table of the words themselves, not a copy.

    [B,T,d_in] -> [B,T,n_vocab].
    """
    n_vocab, d_model = table.weight.shape
    told = Linear(d_model, n_vocab)
    told.linear.weight = table.weight
    return Serial(Linear(d_in, d_model), Activation(d_model, "gelu"), LayerNorm(d_model, eps), told)


def _attention(config: Any) -> Layer:
    try:
        return WindowAttention(config.d_model, config.n_heads, left=None, right=None, rotary=False)
    except ValueError as error:
        raise UserError(str(error)) from None


BERT = Model(
    name="bert",
    paper="BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding (Devlin et al.)",
    year=2018,
    family="attention",
    view="sequence",
    config_of=lambda keys: BertStack,
    build=build,
    knobs=(Knob("d_model", 8, 8), Knob("d_ff", 8)),
    idea="Who must tell a hidden word from both its sides learns what words mean; a small head then needs few labels.",
    equations=(
        "x <- norm(token_t + segment_t + position_t),  x <- norm(x + attention(x)),  x <- norm(x + W_2 gelu(W_1 x))\n"
        "attention over all real frames; of 15 % of the tokens, 80 % masked, 10 % replaced, 10 % kept: tell them"
    ),
    use="Whole sentences are there at once: classes, labels of words, spans, vectors to search with.",
    avoid="The answer must come before the input has ended: every frame sees all others, so it does not stream.",
    references=("Devlin et al. 2018, arXiv:1810.04805", "Zeng et al. 2022, arXiv:2208.08124 (padding not computed)"),
)
