"""Hybrids: blocks with different mixers in turn (Ren et al. 2024); attention, then LSTM (Chen et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import cycle, islice
from typing import Any

from pydantic import Field, create_model

from lamina.core import Config, Layer
from lamina.core.config import UserError, nearest
from lamina.layers import MIXERS
from lamina.models.model import Knob, Model
from lamina.models.stack import ResidualStack, made_mixer, residual_blocks

__all__ = ["ATTENTION_LSTM", "HYBRID"]


SHORT = {"attention": "window_attention"}


class HybridStack(ResidualStack):
    """Blocks of mixer and feed-forward; the mixers of the comma-separated list in turn, n_layers of them.

    "attention" is window_attention. The keys of the mixers go to every mixer that has them. Where their defaults differ
    the key's is None, and each keeps its own.
    """

    mixers: str
    n_layers: int | None = Field(None, ge=1, description="default: each mixer of the list once")  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.mixers, self.model_dump())


def _names(mixers: str) -> list[str]:
    """The list's mixers as MIXERS has them."""
    return [SHORT.get(name.strip(), name.strip()) for name in mixers.split(",")]


@cache
def _config(mixers: str) -> type[HybridStack]:
    keys: dict[str, Any] = {}
    for name in _names(mixers):
        mixer = MIXERS[name]
        for key, default in mixer.keys.items():
            kind, shared = keys.get(key, (mixer.hints[key], default))
            keys[key] = (kind, shared) if shared == default else (kind | None, None)
    return create_model("HybridStack", __base__=HybridStack, mixers=(str, mixers), **keys)


def _again(mixers: str, keys: dict[str, Any]) -> Config:
    return _config(mixers)(**keys)


def _config_of(default: str, name: str) -> Callable[[dict[str, Any]], type[Config]]:
    def config_of(keys: dict[str, Any]) -> type[Config]:
        mixers = str(keys.get("mixers", default))
        for mixer in _names(mixers):
            if mixer not in MIXERS:
                raise UserError(f"{name}: mixers={mixers!r}: {nearest(mixer, [*MIXERS, *SHORT], 'mixer')}")
        return _config(mixers)

    return config_of


def build(config: Any) -> Layer:
    """x + mixer(x), then x + ffn(x), with the next mixer in every block: [B,T,d_model] -> [B,T,d_model]."""
    names = _names(config.mixers)
    fields = type(config).model_fields
    own = {key: v for key, v in config.model_dump().items() if v is not None or fields[key].default is not None}
    turns = islice(cycle(names), config.n_layers or len(names))
    return residual_blocks(config, [made_mixer(name, config.d_model, MIXERS[name].keys | own) for name in turns])


def _row(name: str, mixers: str, paper: str, year: int, idea: str, use: str, avoid: str, *references: str) -> Model:
    return Model(
        name=name,
        paper=paper,
        year=year,
        family="hybrid",
        view="sequence",
        config_of=_config_of(mixers, name),
        build=build,
        knobs=(Knob("d_model", 8, 8), Knob("d_ff", 8)),
        idea=idea,
        equations=(
            "x <- x + mixer_i(norm(x)),  x <- x + W_2 gelu(W_1 norm(x)),  i = 1 .. n_layers\n"
            f"mixers in turn: {mixers.replace(',', ', ')}"
        ),
        use=use,
        avoid=avoid,
        references=references,
    )


HYBRID = _row(
    "hybrid",
    "mamba,attention",
    "Samba: Simple Hybrid State Space Models (Ren et al.)",
    2024,
    "What one mixer cannot do the next one does: a constant state for the long past, exact recall in a window.",
    "One structure alone falls short: mixers=a,b,c names any row of blocks, n_layers goes round it.",
    "One mixer is enough: two kinds of state are two kinds of cost.",
    "Ren et al. 2024, arXiv:2406.07522",
    "De et al. 2024, arXiv:2402.19427 (recurrence and local attention in turn)",
)

ATTENTION_LSTM = _row(
    "attention_lstm",
    "attention,attention,lstm",
    "The Best of Both Worlds: Combining Recent Advances in Neural Machine Translation (Chen et al.)",
    2018,
    "Attention gathers what belongs together in a bounded window; the LSTM behind it smooths and remembers on.",
    "Streams on a device: content by attention, positions and the long past by a small recurrent state. Sound that "
    "comes in blocks: mixers=chunk_attention,chunk_attention,lstm with chunk=4 sees a block whole before it answers.",
    "All frames must train in parallel: the last block walks through time.",
    "Chen et al. 2018, arXiv:1804.09849 (self-attention and LSTM in one network)",
    "Hochreiter & Schmidhuber 1997, Neural Computation 9(8)",
)
