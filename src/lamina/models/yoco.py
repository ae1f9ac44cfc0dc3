"""YOCO: You Only Cache Once (Sun et al. 2024): the lower half has a constant state, the upper half shares one cache."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from pydantic import Field

from lamina.core import Layer, Seq, Serial, State
from lamina.core.config import UserError
from lamina.layers import CrossDecoder
from lamina.models.model import Knob, Model
from lamina.models.stack import GluStack, glu_blocks, swiglu_width, with_mixer

__all__ = ["YOCO", "Yoco"]


class YocoStack(GluStack):
    """n_layers blocks, half of them (rounded down) in the self-decoder; capacity frames in the shared cache."""

    chooses: ClassVar[str] = "self_decoder"
    choices: ClassVar[tuple[str, ...]] = ("gated_retention", "window_attention")

    n_layers: int = Field(2, ge=2)
    n_heads: int = Field(4, ge=1)
    capacity: int | None = Field(4096, ge=1)


class Yoco(Serial):
    """A self-decoder and a CrossDecoder one after another: [B,T,D] -> [B,T,D]; state: theirs.

    State bytes a stream: the self-decoder's, and capacity * (2 * D * 4 + 1) + 8 * (1 + cross layers) for the one cache,
    where a Transformer keeps a cache in every layer.
    """

    def __init__(self, self_decoder: Layer, cross_decoder: CrossDecoder) -> None:
        super().__init__(self_decoder, cross_decoder)

    def prefill(self, x: Seq, state: State) -> tuple[Seq, State]:
        """A long step that leaves early: [B,T,D] -> the output at each row's last real frame, [B,1,D], and the state.

        The whole prompt runs through the self-decoder and the projection of keys and values only.
        """
        lower, upper = (layer for _, layer in self.children_in_order())
        x, below = lower.step(x, cast(State, state.get("0", {})))
        y, above = cast(CrossDecoder, upper).prefill(x, cast(State, state["1"]))
        return y, {"0": below, "1": above}


def build(config: Any) -> Layer:
    """[B,T,d_model] -> [B,T,d_model]."""
    d_model, d_ff = config.d_model, config.d_ff or swiglu_width(config.d_model)
    lower = config.n_layers // 2
    self_decoder = Serial(*glu_blocks(config, lower))
    try:
        cross = CrossDecoder(
            d_model, config.n_heads, config.n_layers - lower, d_ff, config.capacity, config.dropout, config.eps
        )
    except ValueError as error:
        raise UserError(str(error)) from None
    return Yoco(self_decoder, cross)


YOCO = Model(
    name="yoco",
    paper="You Only Cache Once: Decoder-Decoder Architectures for Language Models (Sun et al.)",
    year=2024,
    family="hybrid",
    view="sequence",
    config_of=with_mixer(YocoStack, "gated_retention", "yoco"),
    build=build,
    knobs=(Knob("d_model", 8, 8), Knob("d_ff", 8)),
    idea="Keys and values are made once, half-way up, and all upper layers read that one cache.",
    equations=(
        "x <- x + gated_retention(norm(x)),  x <- x + swiglu(norm(x))          n_layers/2 times\n"
        "k, v = W_k norm(x), W_v norm(x)                                       once\n"
        "x <- x + attention(W_q norm(x); k, v),  x <- x + swiglu(norm(x))      n_layers/2 times\n"
        "cache: capacity * (2 * d_model * 4 + 1) bytes a stream, not n_layers times that"
    ),
    use="Anything ever seen must be found again; a cache a layer is too much; prompts are long (prefill leaves early).",
    avoid="The state must not depend on the length of the past. capacity=None does not stream.",
    references=("Sun et al. 2024, arXiv:2405.05254",),
)
