"""Dataclasses from plain data, each field checked against its type: what a file says is believed only if it fits."""

from __future__ import annotations

import math
import types
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from ..messages import shorten

__all__ = ["from_plain"]

_WORDS = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}


def from_plain(kind: Any, data: Any, what: str) -> Any:
    """The value of a type that `dataclasses.asdict` and JSON made plain.

    kind  a dataclass, a union with None, tuple[X, ...], Mapping[str, X], str, bool, int, float or Any
    what  how an error calls it: ValueError, one line that names the part and its value

    Keys that a dataclass lacks are an error, as are missing ones.
    """
    origin = get_origin(kind)
    if kind is Any:
        return data
    if origin is types.UnionType:
        (other,) = (k for k in get_args(kind) if k is not types.NoneType)
        return None if data is None else from_plain(other, data, what)
    if origin is tuple:
        _check(isinstance(data, list), "a list", data, what)
        return tuple(from_plain(get_args(kind)[0], item, f"{what}[{i}]") for i, item in enumerate(data))
    if is_dataclass(kind):
        return _dataclass(kind, data, what)
    if origin is not None:  # a Mapping
        _check(isinstance(data, dict), "an object", data, what)
        return {key: from_plain(get_args(kind)[1], value, f"{what}.{shorten(key, 30)}") for key, value in data.items()}
    return _leaf(kind, data, what)


def _dataclass(kind: Any, data: Any, what: str) -> Any:
    _check(isinstance(data, dict), "an object", data, what)
    hints, names = get_type_hints(kind), [f.name for f in fields(kind)]
    missing, unknown = [n for n in names if n not in data], [k for k in data if k not in names]
    if missing or unknown:
        said = f"lacks {missing[0]!r}" if missing else f"has an unknown {shorten(unknown[0], 30)!r}"
        raise ValueError(f"{what} {said}; it has {', '.join(names)}")
    return kind(**{name: from_plain(hints[name], data[name], f"{what}.{name}") for name in names})


def _leaf(kind: type, data: Any, what: str) -> Any:
    is_number = isinstance(data, int | float) and not isinstance(data, bool)
    fits = is_number if kind is float else isinstance(data, kind) and isinstance(data, bool) == (kind is bool)
    _check(fits, _WORDS[kind], data, what)
    if kind is not float:
        return data
    try:
        number = float(data)
    except OverflowError:
        number = math.inf
    _check(math.isfinite(number), "a finite number", data, what)
    return number


def _check(fits: bool, words: str, data: Any, what: str) -> None:
    if not fits:
        # The text of a huge whole number would be an error of its own.
        found = type(data).__name__ if isinstance(data, int) and abs(data) > 10**30 else shorten(repr(data), 40)
        raise ValueError(f"{what} must be {words}, got {found}")
