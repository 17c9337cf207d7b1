"""Functions in files: formula, parameters with their constraints, where it comes from, what it has scored.

A file is JSON and holds the whole formula, so that it means the same after the catalogue has changed. Nothing in it is executed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.distributions import constraints

from ..language.expr import from_rows, to_rows
from ..messages import shorten, shown
from ..plain_data import checked, encodable, entry, finite, read_plain, write_whole
from .interval import Closed
from .registry import FAMILIES, Family, Param, nonnegative, positive, real, resolve

__all__ = ["function_of_record", "function_record", "load", "save"]

VERSION = 1
MAX_BYTES = 10_000_000  # of a file
# How a constraint is written: its name in the file -> what makes it, and its attributes that are the arguments of that.
CONSTRAINTS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "real": (lambda: real, ()),
    "positive": (lambda: positive, ()),
    "nonnegative": (lambda: nonnegative, ()),
    "greater_than": (constraints.greater_than, ("lower_bound",)),
    "greater_than_eq": (constraints.greater_than_eq, ("lower_bound",)),
    "less_than": (constraints.less_than, ("upper_bound",)),
    "interval": (constraints.interval, ("lower_bound", "upper_bound")),
    "closed": (Closed, ("lower_bound", "upper_bound")),
}


def function_record(function: str | Family) -> dict[str, Any]:
    """A function as plain data that JSON can hold; raises ValueError for a constraint that it cannot."""
    f = resolve(function)
    parameters = {name: _written(name, p) for name, p in f.params.items()}
    return {
        "actune": VERSION, "function": str(f), "formula": str(f.expr), "parameters": parameters, "paper": f.paper,
        "summary": f.summary, "notes": f.notes, "name": f.name, "tree": to_rows(f.expr),
    }  # fmt: skip


def save(path: str | os.PathLike[str], function: str | Family, **facts: Any) -> None:
    """Write a function to a file that `load`, `Activation.from_file`, `swap` and the command line read.

    function   a name, a formula or a Family
    facts      anything else worth keeping that JSON can hold: study="digits", validation_loss=0.1

    The file appears as a whole or not at all. Raises ValueError for a constraint that a file cannot hold, and over 10 MB.
    """
    record = function_record(function) | {"facts": facts}
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    size = len(text.encode())
    if size > MAX_BYTES:
        raise ValueError(f"a file may have {MAX_BYTES:,} bytes, this one would have {size:,}; keep large facts elsewhere")
    write_whole(_path(path), text)


def _path(path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"path must be the name of a file, got {shown(path)}")
    return Path(path)


def load(path: str | os.PathLike[str]) -> Family:
    """Read a function that `save` wrote.

    A family of the catalogue comes back as itself, with all that is known of it, if its formula and parameters are still the same.
    Raises ValueError, one line that says what is wrong with the file.
    """
    place, name = _path(path), shown(str(path), 200)
    try:
        record = read_plain(place, MAX_BYTES)
    except OSError as error:
        raise ValueError(f"cannot read the function in {name}: {error.strerror}; `actune.save` writes one") from None
    except ValueError as error:
        raise ValueError(f"{name} is no function that `actune.save` wrote: {shorten(str(error), 100)}") from None
    return function_of_record(record, name)


def function_of_record(record: Any, what: str) -> Family:
    """The function in plain data that `function_record` made; raises ValueError, one line about `what`, if it is no such data."""
    if not isinstance(record, dict) or record.get("actune") != VERSION:
        found = record.get("actune") if isinstance(record, dict) else None
        raise ValueError(f'{what} is no function in format {VERSION} of `actune.save` (its "actune" is {shown(found)})')
    try:
        return _read(record)
    except ValueError as error:
        raise ValueError(f"{what} is damaged ({shorten(str(error), 150)}); write it again with `actune.save`") from None


def _read(record: Mapping[str, Any]) -> Family:
    """The family in a record; that of the catalogue if it is still the same."""
    e = from_rows(entry(record, "tree", list))
    name, paper, summary, notes = (encodable(entry(record, key, str), repr(key)) for key in ("name", "paper", "summary", "notes"))
    params = {n: _param(n, p) for n, p in entry(record, "parameters", dict).items()}
    declared = FAMILIES.get(name)
    if declared is not None and declared.expr is e and _alike(declared.params, params):
        return declared
    name = str(e) if declared is not None else name  # that name means something else by now
    return Family(name, e, params, paper, summary, notes=notes)


def _written(name: str, p: Param) -> dict[str, Any]:
    """A parameter as plain data."""
    for kind, (make, bounds) in CONSTRAINTS.items():
        if not all(hasattr(p.constraint, b) for b in bounds):
            continue
        numbers = [float(getattr(p.constraint, b)) for b in bounds]
        if _is_same(make(*numbers), p.constraint):
            initial = list(p.init) if isinstance(p.init, tuple) else p.init
            return {"initial": initial, "constraint": [kind, *numbers], "trainable": p.trainable}
    raise ValueError(f"the parameter {name!r} has the constraint {p.constraint}, which a file cannot hold; "
                     f"take one of {', '.join(CONSTRAINTS)}")  # fmt: skip


def _alike(one: Mapping[str, Param], other: Mapping[str, Param]) -> bool:
    """Whether two tables of parameters have the same names, initial values, constraints and choice of what is trained."""
    return list(one) == list(other) and all(
        (p.init, p.trainable) == (q.init, q.trainable) and _is_same(p.constraint, q.constraint)
        for p, q in zip(one.values(), other.values(), strict=True)
    )


def _is_same(one: Any, other: Any) -> bool:
    """Whether two constraints are the same; torch's define no equality."""
    return type(one) is type(other) and vars(one) == vars(other)


def _param(name: str, record: Any) -> Param:
    """The parameter that `_written` wrote."""
    try:
        initial: Any = entry(record, "initial", object)
        if isinstance(initial, list):
            initial = tuple(finite(v, "an initial value") for v in initial)
        else:
            initial = finite(initial, "'initial'")
        return Param(initial, _constraint(entry(record, "constraint", list)), entry(record, "trainable", bool))
    except ValueError as error:
        raise ValueError(f"parameter {shown(name)}: {error}") from None


def _constraint(written: Sequence[Any]) -> Any:
    kind = checked(written[0], str, "a constraint") if written else ""
    if kind not in CONSTRAINTS:
        raise ValueError(f"a constraint is one of {', '.join(CONSTRAINTS)}, got {shown(kind)}")
    make, bounds = CONSTRAINTS[kind]
    if len(written) != 1 + len(bounds):
        raise ValueError(f"the constraint {kind} has {len(bounds)} bounds, got {len(written) - 1}")
    return make(*(finite(b, "a bound") for b in written[1:]))
