"""Functions with a code object of their own, one per formula.

torch's compiler keeps up to eight compiled versions per code object, and then runs it as it is, silently. A function that serves
many formulas would be compiled for the first eight. So each formula gets a copy of the function, which is compiled by itself.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import TypeVar

__all__ = ["with_own_code"]

F = TypeVar("F", bound=Callable[..., object])


def with_own_code(function: F) -> F:
    """A copy of a Python function with a code object of its own."""
    assert isinstance(function, types.FunctionType)
    code, defaults, closure = function.__code__.replace(), function.__defaults__, function.__closure__
    return types.FunctionType(code, function.__globals__, function.__name__, defaults, closure)  # type: ignore[return-value]
