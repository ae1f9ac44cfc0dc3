"""Names with options: "mqar:pairs=16,length=128" is the data set mqar, made with pairs=16 and length=128."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from lamina.core.config import UserError, nearest

__all__ = ["parse", "spell"]

REAL = (float, float | None)


def parse(text: str, known: Mapping[str, Callable[..., Any]], what: str = "data set") -> tuple[str, dict[str, Any]]:
    """The name and its options, of those whose function takes numbers or words by these names; `what` it is a name of.

    A number is 16, or 0.5 where the function takes a float; several are 4+8+16; a word is one of those that it
    knows, a path any. The fields of an argument that is a dataclass are options too. Unknown names and options are
    errors with the nearest right one.
    """
    name, colon, rest = text.partition(":")
    name = name.strip().lower().replace("-", "_")
    if name not in known:
        raise nearest(text.partition(":")[0], known, what)
    kinds = _kinds(known[name])
    options: dict[str, Any] = {}
    for pair in rest.split(",") if colon else []:
        key, sign, value = (word.strip() for word in pair.partition("="))
        if not sign or not key:
            raise UserError(f"{text}: {pair!r} is not KEY=VALUE; write it like {_example(name, kinds)}")
        if key not in kinds:
            if not kinds:
                raise UserError(f"{text}: {name} takes no options; give {name}")
            raise UserError(f"{text}: {nearest(key, kinds, 'option')}")
        if key in options:
            raise UserError(f"{text}: {key} stands there twice; give it once")
        options[key] = _value(text, key, value, kinds[key])
    return name, _grouped(known[name], options)


def spell(name: str, options: Mapping[str, Any], make: Callable[..., Any]) -> str:
    """The one way to write a name with its options: in the function's order, those at their default left out."""
    usual = {key: parameter.default for key, parameter in inspect.signature(make).parameters.items()}
    given = {key: options.get(key, default) for key, default in usual.items()}
    words = [
        f"{key}={'+'.join(map(str, value)) if isinstance(value, tuple) else value}"
        for (key, value), (_, default) in zip(_flat(given), _flat(usual), strict=True)
        if value != default and key in _kinds(make)
    ]
    return f"{name}:{','.join(words)}" if words else name


def _flat(options: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The options, and in place of a dataclass its fields."""
    pairs = []
    for key, value in options.items():
        inner = [(f.name, getattr(value, f.name)) for f in fields(value)] if is_dataclass(value) else [(key, value)]
        pairs += inner
    return pairs


def _grouped(make: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """The options as the function takes them: the fields of a dataclass as one."""
    for key, kind in typing.get_type_hints(make).items():
        if key != "return" and is_dataclass(kind):
            own = {f.name: options.pop(f.name) for f in fields(kind) if f.name in options}
            options |= {key: kind(**own)} if own else {}  # type: ignore[operator]
    return options


def _kinds(make: Callable[..., Any]) -> dict[str, Any]:
    """The function's arguments that can be written: numbers, several whole ones, a path, or one of some words."""
    hints = {key: kind for key, kind in typing.get_type_hints(make).items() if key != "return"}
    for kind in list(hints.values()):
        hints |= typing.get_type_hints(kind) if is_dataclass(kind) else {}
    known = (int, *REAL, tuple[int, ...], Path | None)
    return {key: kind for key, kind in hints.items() if kind in known or _words(kind)}


def _words(kind: Any) -> tuple[str, ...]:
    """The words of a Literal."""
    return typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()


def _value(text: str, key: str, value: str, kind: Any) -> Any:
    if known := _words(kind):
        if value not in known:
            raise UserError(f"{text}: {key}: {nearest(value, known, 'word')}")
        return value
    if kind == Path | None:
        return Path(value)
    if kind in REAL:
        try:
            return float(value)
        except ValueError:
            raise UserError(f"{text}: {key}={value!r} must be a number") from None
    words, several = value.split("+"), kind is not int
    if not all(word.strip().isdecimal() for word in words) or (len(words) > 1 and not several):
        form = "numbers such as 4+8+16" if several else "a whole number"
        raise UserError(f"{text}: {key}={value!r} must be {form}")
    numbers = tuple(int(word) for word in words)
    return numbers if several else numbers[0]


def _example(name: str, kinds: dict[str, Any]) -> str:
    return f"{name}:{next(iter(kinds), 'key')}=16"
