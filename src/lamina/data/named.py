"""Names with options: "mqar:pairs=16,length=128" is the data set mqar, made with pairs=16 and length=128."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from lamina.core.config import UserError, nearest

__all__ = ["parse", "spell"]


def parse(text: str, known: Mapping[str, Callable[..., Any]]) -> tuple[str, dict[str, Any]]:
    """The name and its options, of those whose function takes numbers by these names.

    A number is 16, several are 4+8+16. Unknown names and options are errors with the nearest right one.
    """
    name, colon, rest = text.partition(":")
    name = name.strip().lower().replace("-", "_")
    if name not in known:
        raise nearest(text.partition(":")[0], known, "data set")
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
        options[key] = _number(text, key, value, several=kinds[key] is not int)
    return name, options


def spell(name: str, options: Mapping[str, Any], make: Callable[..., Any]) -> str:
    """The one way to write a name with its options: in the function's order, those at their default left out."""
    parameters = inspect.signature(make).parameters
    words = [
        f"{key}={'+'.join(map(str, options[key])) if isinstance(options[key], tuple) else options[key]}"
        for key in parameters
        if key in options and options[key] != parameters[key].default
    ]
    return f"{name}:{','.join(words)}" if words else name


def _kinds(make: Callable[..., Any]) -> dict[str, Any]:
    """The function's arguments that can be written as numbers: int, or tuple[int, ...]."""
    hints = typing.get_type_hints(make)
    return {key: kind for key, kind in hints.items() if key != "return" and kind in (int, tuple[int, ...])}


def _number(text: str, key: str, value: str, several: bool) -> Any:
    words = value.split("+")
    if not all(word.strip().isdecimal() for word in words) or (len(words) > 1 and not several):
        form = "numbers such as 4+8+16" if several else "a whole number"
        raise UserError(f"{text}: {key}={value!r} must be {form}")
    numbers = tuple(int(word) for word in words)
    return numbers if several else numbers[0]


def _example(name: str, kinds: dict[str, Any]) -> str:
    return f"{name}:{next(iter(kinds), 'key')}=16"
