"""The primitives as Python functions on formulas: `from actune.functions import exp, tanh, where`."""

from __future__ import annotations

import functools
from collections.abc import Callable

from .expr import Expr, apply
from .ops import ALIASES, OPS


def __getattr__(name: str) -> Callable[..., Expr]:
    if name not in OPS and name not in ALIASES:
        raise AttributeError(f"no function {name!r} in the language")
    return functools.partial(apply, name)


def __dir__() -> list[str]:
    return sorted(name for name in (*OPS, *ALIASES) if name.isidentifier())
