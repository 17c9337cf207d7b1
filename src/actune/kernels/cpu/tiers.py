"""Interpreted or compiled: a formula is interpreted until it has been used so much that compiling it pays.

Both give the same bits, so nobody can see when the one takes over from the other.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import torch

from ...language.expr import Expr
from . import compiler, interpreter
from .strips import Strip, link_strip

__all__ = ["WORTH", "Asked", "kernel_for"]

Asked = tuple[tuple[Expr, ...], tuple[str, ...], torch.dtype, bool, bool]  # what `kernel_for` is asked, but for the elements

_STACK = 2**18  # bytes that a tape may take of it
WORTH = 20_000_000  # elements: interpreting them costs about as much more as compiling (7e6 to 4e8, by formula)


@dataclass
class _Use:
    """How many elements a formula has had, and what computes it now."""

    elements: int = 0
    interpreted: Strip | None = None
    compiled: Strip | None = None


def kernel_for(
    exprs: tuple[Expr, ...], names: tuple[str, ...], dtype: torch.dtype, columns: bool, backward: bool, elements: int
) -> Strip:
    """The kernel of these formulas (see `compiler.formula_library`) for so many elements more."""
    use = _use(exprs, names, dtype, columns, backward)
    use.elements += elements
    if use.elements < WORTH and use.interpreted is None:
        use.interpreted = interpret_strip(exprs, names, dtype, columns, backward)
    if use.compiled is None and (use.elements >= WORTH or use.interpreted is None):
        use.compiled = replace(compile_strip(exprs, names, dtype, columns, backward), settled=True)
    found = use.compiled or use.interpreted
    assert found is not None
    return found


@functools.lru_cache(maxsize=512)
def _use(exprs: tuple[Expr, ...], names: tuple[str, ...], dtype: torch.dtype, columns: bool, backward: bool) -> _Use:
    return _Use()


def compile_strip(exprs: tuple[Expr, ...], names: tuple[str, ...], dtype: torch.dtype, columns: bool, backward: bool) -> Strip:
    """The compiled kernel of these formulas."""
    return link_strip(compiler.formula_library(exprs, names, dtype, columns, backward))


def interpret_strip(
    exprs: tuple[Expr, ...], names: tuple[str, ...], dtype: torch.dtype, columns: bool, backward: bool
) -> Strip | None:
    """The interpreter with the tape of these formulas; None: the tape needs more of the stack than there is."""
    library = interpreter.interpreter_library(dtype, columns, backward)
    tape = interpreter.tape(exprs, names, dtype == torch.float64, backward)
    return link_strip(library, tape.address, tape) if tape.memory <= _STACK else None
