"""Stacks of mixers: residual (Vaswani 2017), with SwiGLU (Touvron 2023), plain (El Hihi & Bengio 1995)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, ClassVar, Literal

from pydantic import Field, create_model

from lamina.core import Config, Layer, Residual, Serial
from lamina.core.config import UserError, nearest
from lamina.layers import MIXERS, Dropout, FeedForward, LayerNorm, RMSNorm, SwiGLU
from lamina.models.model import Knob, Model

__all__ = [
    "GluStack", "PlainStack", "ResidualStack", "build_mixer", "dropout", "glu_blocks", "glu_stack", "made_mixer",
    "plain_stack", "residual_blocks", "residual_stack", "residuals", "row_of_mixer", "swiglu_width", "with_mixer",
]  # fmt: skip


class PlainStack(Config):
    """Mixers one after another; the key `chooses` names the mixer, one of `choices` (default: any)."""

    origin: ClassVar[tuple[Any, ...]] = ()  # what made the class, which pickle cannot find by its name
    chooses: ClassVar[str] = "mixer"
    choices: ClassVar[tuple[str, ...]] = tuple(MIXERS)

    d_model: int = Field(64, ge=1)
    n_layers: int = Field(2, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (*self.origin, self.model_dump())


class ResidualStack(PlainStack):
    """Blocks of mixer and feed-forward, each in a residual with a norm before or behind it."""

    d_ff: int | None = Field(None, ge=1, description="default 4 * d_model")
    norm: Literal["pre", "post"] = "pre"
    activation: Literal["gelu", "gelu_tanh", "relu", "silu"] = Field("gelu", description="of the feed-forward")


class GluStack(PlainStack):
    """Blocks of mixer and SwiGLU, each in a residual behind an RMS norm."""

    d_ff: int | None = Field(
        None, ge=1, description="default 8/3 * d_model: the weights of a feed-forward 4 times as wide"
    )
    eps: float = Field(1e-6, gt=0, description="of the norms between the layers")


def with_mixer(base: type[PlainStack], mixer: str, name: str) -> Any:
    """config_of for a stack whose default mixer is `mixer`: the base's keys and those of the mixer chosen."""

    def config_of(keys: dict[str, Any]) -> type[Config]:
        chosen = str(keys.get(base.chooses, mixer))
        if chosen not in base.choices:
            raise UserError(f"{name}: {nearest(chosen, base.choices, base.chooses)}")
        return _config(base, chosen, mixer)

    return config_of


def row_of_mixer(
    name: str,
    mixer_name: str,
    base: type[PlainStack],
    build: Callable[[Any], Layer],
    knobs: tuple[Knob, ...],
    equations: str,
    *references: str,
    kind: str = "model",
) -> Model:
    """The row of a stack around a mixer, whose paper and words it takes."""
    mixer = MIXERS[mixer_name]
    return Model(
        name=name,
        paper=mixer.paper,
        year=mixer.year,
        family=mixer.family,
        view="sequence",
        config_of=with_mixer(base, mixer_name, name),
        build=build,
        knobs=knobs,
        idea=mixer.idea,
        equations=equations,
        use=mixer.use,
        avoid=mixer.avoid,
        references=references,
        kind=kind,
    )


@cache
def _config(base: type[PlainStack], chosen: str, default: str) -> type[Config]:
    mixer = MIXERS[chosen]
    keys: dict[str, Any] = {key: (mixer.hints[key], value) for key, value in mixer.keys.items()}
    made = create_model(base.__name__, __base__=base, **{base.chooses: (str, default)}, **keys)
    made.origin = (base, chosen, default)
    return made


def _again(base: type[PlainStack], chosen: str, default: str, keys: dict[str, Any]) -> Config:
    return _config(base, chosen, default)(**keys)


def plain_stack(config: Any) -> Layer:
    """mixer, dropout, mixer, ... : [B,T,d_model] -> [B,T,d_model]."""
    layers: list[Layer] = []
    for _ in range(config.n_layers):
        layers += [build_mixer(config), *dropout(config)]
    return Serial(*layers)


def residual_stack(config: Any) -> Layer:
    """x + mixer(x), then x + ffn(x), n_layers times: [B,T,d_model] -> [B,T,d_model]."""
    return residual_blocks(config, [build_mixer(config) for _ in range(config.n_layers)])


def residual_blocks(config: Any, mixers: Sequence[Layer]) -> Layer:
    """x + mixer(x), then x + ffn(x), for each of the mixers: [B,T,d_model] -> [B,T,d_model]."""
    d_model, d_ff = config.d_model, config.d_ff or 4 * config.d_model
    return residuals(
        config, [body for mixer in mixers for body in (mixer, FeedForward(d_model, d_ff, config.activation))]
    )


def residuals(config: Any, bodies: Sequence[Layer]) -> Layer:
    """x + body(x) for each of the bodies: [B,T,d_model] -> [B,T,d_model].

    pre: norms inside the residuals and one at the end (Xiong et al. 2020); post: norms behind the sums (2017).
    """
    d_model = config.d_model
    layers: list[Layer] = []
    for body in bodies:
        if config.norm == "pre":
            layers.append(Residual(LayerNorm(d_model), body, *dropout(config)))
        else:
            layers += [Residual(body, *dropout(config)), LayerNorm(d_model)]
    return Serial(*layers, LayerNorm(d_model)) if config.norm == "pre" else Serial(*layers)


def glu_stack(config: Any) -> Layer:
    """x + mixer(norm(x)), then x + swiglu(norm(x)), n_layers times, and a norm: [B,T,d_model] -> [B,T,d_model]."""
    return Serial(*glu_blocks(config, config.n_layers), RMSNorm(config.d_model, config.eps))


def glu_blocks(config: Any, n: int) -> list[Layer]:
    """n blocks of mixer and SwiGLU, each in a residual behind an RMS norm."""
    d_model, d_ff = config.d_model, config.d_ff or swiglu_width(config.d_model)
    bodies = [body for _ in range(n) for body in (build_mixer(config), SwiGLU(d_model, d_ff))]
    return [Residual(RMSNorm(d_model, config.eps), body, *dropout(config)) for body in bodies]


def swiglu_width(d_model: int) -> int:
    """8/3 * d_model as a multiple of 8: SwiGLU has three matrices where a feed-forward 4 times as wide has two."""
    return -(-d_model // 3) * 8


def build_mixer(config: Any) -> Layer:
    """The mixer that a stack's config chooses."""
    name = getattr(config, config.chooses)
    return made_mixer(name, config.d_model, {key: getattr(config, key) for key in MIXERS[name].keys})


def made_mixer(name: str, d_model: int, keys: dict[str, Any]) -> Layer:
    """A mixer with those of the keys that it has."""
    try:
        return MIXERS[name].build(d_model, keys)
    except ValueError as error:
        raise UserError(str(error)) from None


def dropout(config: Any, width: int | None = None) -> list[Layer]:
    """The dropout layer, where the config has one; width: default d_model."""
    return [Dropout(width or config.d_model, config.dropout)] if config.dropout else []
