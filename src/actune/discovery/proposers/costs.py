"""What a function costs, from a table of operators: instructions for a vector of elements. No clock is asked."""

from __future__ import annotations

import functools

from ...catalogue.registry import Family, resolve
from ...kernels.cpu.steps import instruction_count as instructions
from ...kernels.operators import ordered
from ...language.expr import Expr, apply, symbol
from ...language.ops import OPS
from .screening import trained_symbols

__all__ = ["function_cost"]

_WIDE = 1000  # instructions of a Mittag-Leffler function, which is no vector code but a table or a contour integral
_X = symbol("x")


def function_cost(f: str | Family) -> int:
    """The instructions of a pass forward and one backward: the value; the slope and the gradients of trained parameters.

    Each distinct part counts once, whatever the machine: a study with this objective replays anywhere.
    """
    f = resolve(f)
    passes = ((f.expr,), (f.expr.diff(), *(f.expr.diff(name) for name in trained_symbols(f))))
    return sum(_instructions(n.op) for exprs in passes for n in ordered(exprs)[1] if not n.is_leaf)


@functools.cache
def _instructions(op: str) -> int:
    """The row of the table for this operator."""
    if op == "where":  # a comparison and a choice; its own comparison is counted where it stands
        return 1
    if OPS[op].kernel is None:
        return _WIDE
    e: Expr = apply(op, *(_X,) * OPS[op].arity)
    return instructions((e,), (_X, e) if OPS[op].arity else (e,))
