"""Interpreted or compiled: a formula is interpreted until it has been used so much that compiling it pays.

Both give the same bits, so nobody can see when the one takes over from the other.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import torch

from ..expr import Expr
from . import assembly, interpreter
from .strips import Strip

__all__ = ["WORTH", "chosen"]

WORTH = 4_000_000  # elements: interpreting them costs about as much more as compiling


@dataclass
class _Use:
    """How many elements a formula has had, and what computes it now."""

    elements: int = 0
    strips: list[Strip] = field(default_factory=list)


def chosen(
    exprs: tuple[Expr, ...], names: tuple[str, ...], dtype: torch.dtype, columns: bool, backward: bool, elements: int
) -> Strip:
    """The kernel of these formulas (see `assembly.compiled`) for so many elements more."""
    use = _use(exprs, names, dtype, columns, backward)
    use.elements += elements
    if use.elements >= WORTH and len(use.strips) < 2:
        use.strips = [interpreted(exprs, names, dtype, columns, backward), compiled(exprs, names, dtype, columns, backward)]
    elif not use.strips:
        use.strips = [interpreted(exprs, names, dtype, columns, backward)]
    return use.strips[-1]


@functools.lru_cache(maxsize=2048)
def _use(exprs: tuple[Expr, ...], names: tuple[str, ...], dtype: torch.dtype, columns: bool, backward: bool) -> _Use:
    return _Use()


def compiled(exprs: tuple[Expr, ...], names: tuple[str, ...], dtype: torch.dtype, columns: bool, backward: bool) -> Strip:
    library = assembly.compiled(exprs, names, dtype, columns, backward)
    return Strip(library.address("strip"), 0, (library,))


def interpreted(exprs: tuple[Expr, ...], names: tuple[str, ...], dtype: torch.dtype, columns: bool, backward: bool) -> Strip:
    library, tape = interpreter.strip(dtype, columns, backward), interpreter.tape(exprs, names, dtype == torch.float64, backward)
    return Strip(library.address("strip"), tape.address, (library, tape))
