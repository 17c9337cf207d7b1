"""Plain data, as JSON gives it, in files. What is read may be damaged or hostile: each part is of the kind it must be, or one clear
line says which is not. What is written appears as a whole or not at all."""

from __future__ import annotations

import functools
import json
import math
import os
import tempfile
import types
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from .messages import shorten, shown

__all__ = ["checked", "encodable", "entry", "finite", "from_plain", "read_plain", "write_whole"]

_T = TypeVar("_T")
_KINDS = {str: "text", dict: "an object", list: "a list", bool: "true or false", int: "a whole number"}


def read_plain(path: Path, largest: int) -> Any:
    """The plain data in a file of JSON of at most so many bytes; ValueError says what is wrong with it, after the word "it"."""
    with path.open("rb") as file:
        data = file.read(largest + 1)
    if len(data) > largest:
        raise ValueError(f"it has more than {largest:,} bytes")
    try:
        return json.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def write_whole(path: Path, text: str) -> None:
    """Write a file: beside the target and then renamed, so that a reader sees the old file or the new one, never a part."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def _umask() -> int:
    old = os.umask(0)
    os.umask(old)
    return old


def entry(record: Any, key: str, kind: type[_T]) -> _T:
    """The entry of a record, of this kind: str, dict, list, bool or int; object for any."""
    if not isinstance(record, dict):
        raise ValueError(f"an object with {key!r} is needed, not {shown(record)}")
    if key not in record:
        raise ValueError(f"{key!r} is missing")
    return checked(record[key], kind, repr(key))


def checked(value: Any, kind: type[_T], what: str) -> _T:
    """The value, if it is of this kind; true and false are no numbers. `what` is how an error calls it."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise ValueError(f"{what} must be {_KINDS[kind]}, got {shown(value)}")
    return value


def finite(value: Any, what: str) -> float:
    """The value as a finite number. `what` is how an error calls it."""
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{what} must be a finite number, got {shown(value)}")
    return number


def encodable(value: Any, what: str) -> str:
    """The value as text that a file can hold: Unicode without lone surrogates. `what` is how an error calls it."""
    try:
        checked(value, str, what).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} is text that no file can hold, {shown(value)}") from None
    return str(value)


def from_plain(kind: Any, data: Any, what: str) -> Any:
    """The value of a type that `dataclasses.asdict` and JSON made plain; ValueError, one line, names the part that does not fit.

    kind  a dataclass, a union with None, tuple[X, ...], Mapping[str, X], str, bool, int, float (a finite number) or Any
    what  how an error calls the whole
    """
    origin = get_origin(kind)
    if kind is Any:
        return data
    if kind is float:
        return finite(data, what)
    if kind is str:
        return encodable(data, what)
    if origin is types.UnionType:
        (other,) = (k for k in get_args(kind) if k is not types.NoneType)
        return None if data is None else from_plain(other, data, what)
    if origin is tuple:
        items = enumerate(checked(data, list, what))
        return tuple(from_plain(get_args(kind)[0], item, f"{what}[{i}]") for i, item in items)
    if is_dataclass(kind):
        return _dataclass(kind, data, what)
    if origin is not None:  # a Mapping
        pairs = checked(data, dict, what).items()
        named = ((encodable(key, f"a key of {what}"), value) for key, value in pairs)
        return {key: from_plain(get_args(kind)[1], value, f"{what}.{shorten(key, 30)}") for key, value in named}
    return checked(data, kind, what)


def _dataclass(kind: Any, data: Any, what: str) -> Any:
    hints, names = _hints(kind), [f.name for f in fields(kind)]
    unknown = next((key for key in checked(data, dict, what) if key not in names), None)
    missing = next((name for name in names if name not in data), None)
    if missing is not None:
        raise ValueError(f"{what} has no {missing!r}")
    if unknown is not None:
        raise ValueError(f"{what} has an unknown {shown(unknown)}; it has {', '.join(names)}")
    return kind(**{name: from_plain(hints[name], data[name], f"{what}.{name}") for name in names})


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
