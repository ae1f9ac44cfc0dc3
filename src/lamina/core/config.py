"""Configs: validated keys for models, recorded constructor arguments for layers, both to and from JSON."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

if TYPE_CHECKING:
    from lamina.core.layer import Layer

__all__ = ["SCHEMA", "Config", "UserError", "build", "check_schema", "describe", "nearest", "rebuild"]

SCHEMA = 1  # of config.json and of saved states


class UserError(ValueError):
    """Bad input: one clear line that says what, where and the remedy. The command line exits with status 2."""


def nearest(word: str, known: Iterable[str], what: str) -> UserError:
    """The error for an unknown name, with the nearest right one."""
    names = sorted(known)
    folded = {n.lower().replace("-", "_"): n for n in names}
    begins = word[:64].lower().replace("-", "_")  # whoever sends megabytes waits no longer than for a name
    close = difflib.get_close_matches(begins, list(folded), 1, 0.5)
    hint = f"did you mean {folded[close[0]]!r}?" if close else f"known: {', '.join(names)}"
    return UserError(f"unknown {what} {word!r}; {hint}")


class Config(BaseModel):
    """Base of every model's config: unknown keys and wrong types are errors that name the key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def of(cls, keys: dict[str, Any], where: str) -> Self:
        """Validates keys; the error names where they came from, and the nearest right key."""
        for key in keys:
            if key not in cls.model_fields:
                raise UserError(f"{where}: {nearest(key, cls.model_fields, 'key')}")
        try:
            return cls(**keys)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(p) for p in first["loc"]) or "config"
            raise UserError(f"{where}: {key}={first['input']!r}: {first['msg'].lower()}") from None


def check_schema(found: object, where: str) -> None:
    """Refuses what another version of lamina wrote, with the remedy."""
    if found == SCHEMA:
        return
    if isinstance(found, int) and found > SCHEMA:
        raise UserError(f"{where}: schema {found} is newer than this lamina reads ({SCHEMA}); upgrade lamina")
    raise UserError(
        f"{where}: schema {found!r} is not one this lamina reads ({SCHEMA}); write it again with this lamina"
    )


def describe(layer: Layer) -> dict[str, Any]:
    """A layer as JSON-ready data: its class and the arguments it was built with, children included."""
    kind = type(layer)
    return {"layer": f"{kind.__module__}:{kind.__qualname__}", "arguments": _plain(layer.__dict__.get("arguments", {}))}


def build(description: dict[str, Any]) -> Layer:
    """The layer that `describe` described, with fresh weights. Only classes already imported are built."""
    from lamina.core.layer import Layer

    known = {f"{k.__module__}:{k.__qualname__}": k for k in _subclasses(Layer)}
    name = description["layer"]
    if name not in known:
        raise nearest(name, known, "layer")
    kind = known[name]
    positional: list[Any] = []
    by_name: dict[str, Any] = {}
    values = {key: _fresh(value) for key, value in description["arguments"].items()}
    for parameter in list(inspect.signature(kind.__init__).parameters.values())[1:]:
        if parameter.name not in values:
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional.extend(values[parameter.name])
        elif parameter.kind is parameter.KEYWORD_ONLY:
            by_name[parameter.name] = values[parameter.name]
        else:
            positional.append(values[parameter.name])
    return kind(*positional, **by_name)


def rebuild(layer: Layer) -> Layer:
    """Another layer from the same arguments, with fresh weights."""
    return build(json.loads(json.dumps(describe(layer))))


def _plain(value: Any) -> Any:
    from lamina.core.layer import Layer

    if isinstance(value, Layer):
        return describe(value)
    if isinstance(value, Config):
        return value.model_dump(mode="json")
    if isinstance(value, Fraction):
        return {"fraction": str(value)}
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a constructor argument of type {type(value).__name__} cannot be written to JSON")


def _fresh(value: Any) -> Any:
    if isinstance(value, dict):
        if "layer" in value:
            return build(value)
        if "fraction" in value:
            return Fraction(value["fraction"])
        return {k: _fresh(v) for k, v in value.items()}
    if isinstance(value, list):  # constructors take tuples, which JSON has not
        return tuple(_fresh(v) for v in value)
    return value


def _subclasses(kind: type[Any]) -> list[type[Any]]:
    return [s for k in kind.__subclasses__() for s in (k, *_subclasses(k))]
