"""Reading plain data, as JSON gives it, from a source that may be damaged or hostile: each part is of the kind it must be, or one
clear line says which is not."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from .messages import shown

__all__ = ["checked", "entry", "finite"]

_T = TypeVar("_T")
_KINDS = {str: "text", dict: "an object", list: "a list", bool: "true or false", int: "a whole number"}


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
