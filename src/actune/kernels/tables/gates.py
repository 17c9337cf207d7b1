"""Formulas with Mittag-Leffler functions from tables: of the whole formula, or of the parts that are costly ("gates").

E_{α,β} costs a microsecond per element; a table of it costs as much as an elementary function. A formula such as x*E(-x^2) is a
smooth function of x and can be one table. But a table must not have a kink, or |x|^γ with a trained γ, inside: there the
Mittag-Leffler functions alone become tables, as functions of x or of their own argument, and torch operators do the rest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...language.expr import Expr, symbol
from ...language.ops import OPS
from .. import operators
from ..cpu.compiler import kernels_run
from ..request import Request
from .whole import by_table

__all__ = ["gates_way"]

COSTLY = 1024  # elements from which a table pays for such a formula
_X = symbol("x")


def gates_way(asked: Request) -> Callable[..., Tensor | None] | None:
    """Tables for formulas with Mittag-Leffler functions, with parameters of one number or varying along one dimension of x."""
    subject, layout = asked.subject, asked.layout
    if asked.place != "cpu" or asked.dtype == torch.float64 or not kernels_run(asked.dtype):
        return None
    if not operators.needs_float64(subject.e):
        return None
    if asked.has_single_parameters:
        if asked.elements < COSTLY or any(len(shape) > len(asked.sizes) for shape in asked.shapes):
            return None
        return lambda x, tensors: _by_tables(subject.e, x, subject.symbols(x, tensors, asked.shapes))
    if layout is None or len(layout.dims) != 1 or asked.elements // asked.sizes[layout.dims[0]] < COSTLY:
        return None
    (dim,) = layout.dims
    return lambda x, tensors: _by_channel(subject.e, x, subject.symbols(x, tensors, asked.shapes), dim)


def _by_channel(e: Expr, x: Tensor, parameters: Mapping[str, Tensor], dim: int) -> Tensor:
    """Each index of this dimension by its own tables, or by operators where it has none."""

    def channel(i: int) -> Tensor:
        own = {name: p.reshape(()) if p.numel() == 1 else p.select(dim, i) for name, p in parameters.items()}
        y = _by_tables(e, x.select(dim, i), own)
        return operators.activate_in_torch(e, x.select(dim, i), own) if y is None else y

    return torch.stack([channel(i) for i in range(x.shape[dim])], dim)


def _by_tables(e: Expr, x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor | None:
    return next((y for y in (by(x, parameters) for by in _choices(e)) if y is not None), None)


@functools.lru_cache(maxsize=256)
def _choices(e: Expr) -> tuple[Callable[[Tensor, Mapping[str, Tensor]], Tensor | None], ...]:
    """How tables may serve, the best first: for the whole, or for the parts that are Mittag-Leffler functions."""
    whole = functools.partial(by_table, e)
    of_x, of_argument = gates_of(e, "x"), gates_of(e, "argument")
    if not of_x.is_product:
        return (whole,)
    by_x, by_argument = (functools.partial(_by_gates, gates) for gates in (of_x, of_argument))
    # Parts without parameters have tables that are never made anew: E(b*x) with a trained b.
    fixed = e.symbols() != ("x",) and all(gate.symbols() == ("x",) for _, gate, _ in of_argument.parts)
    return (by_argument, whole) if fixed else (whole, by_x, by_argument)


def _by_gates(gates: Gates, x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor | None:
    """By operators, but the costly parts from tables; None where one has no table."""
    single = x.to(torch.float32)

    def used(part: Expr, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        symbols = part.symbols()
        return {n: t for n, t in named.items() if n in symbols}

    tables: dict[str, Tensor] = {}
    for name, gate, inner in gates.parts:
        at = single if inner is _X else operators.activate_in_torch(inner, single, used(inner, parameters))
        found = by_table(gate, at, used(gate, parameters), one_sided=inner is not _X)
        if found is None:
            return None
        tables[name] = found
    return operators.activate_in_torch(gates.outer, single, used(gates.outer, {**parameters, **tables})).to(x.dtype)


@dataclass(frozen=True)
class Gates:
    """A formula whose costly parts are replaced by symbols, and these parts.

    outer   the formula over x and the symbols
    parts   (symbol, part as a function of x, formula of the x at which it is taken)

    Of x*E(min(x, 0)), by argument: outer x*gate_0, and one part, (gate_0, E(x), min(x, 0)).
    """

    outer: Expr
    parts: tuple[tuple[str, Expr, Expr], ...]

    @property
    def is_product(self) -> bool:
        """Whether the parts are only multiplied, divided and chosen: a sum might cancel the digits that rounding has left them."""
        names = {name for name, _, _ in self.parts}

        # For each node: whether a part is in it, and whether all that is in it is a product of parts.
        def leaf(n: Expr) -> tuple[bool, bool]:
            return n.op == "symbol" and n.args[0] in names, True

        def node(n: Expr, *inside: tuple[bool, bool]) -> tuple[bool, bool]:
            has_part = any(found for found, _ in inside)
            joins = not has_part or n.op in ("mul", "div", "neg", "where")
            return has_part, joins and all(good for found, good in inside if found)

        return self.outer.fold(leaf, node)[1]


def gates_of(e: Expr, by: str) -> Gates:
    """The Mittag-Leffler functions cut out of a formula, as functions of x or of their own argument (by: "x" or "argument").

    For a formula with a kink, or with |x|^γ and a trained γ, at 0, where its Mittag-Leffler functions are smooth: those of x, or,
    in E(min(x, 0)), those of what they are taken of.
    """
    parts: dict[str, tuple[str, Expr, Expr]] = {}

    def cut_out(n: Expr, *args: Expr) -> Expr:
        found = Expr(n.op, args)
        moving = {a for a in args if "x" in a.symbols()}
        if not OPS[n.op].float64 or not moving:
            return found
        inner = moving.pop() if by == "argument" and len(moving) == 1 else _X
        gate = found if inner is _X else Expr(n.op, tuple(_X if a is inner else a for a in args))
        name = f"gate_{len(parts)}"
        parts[name] = name, gate, inner
        return symbol(name)

    outer = e.expand().fold(lambda n: n, cut_out)
    return Gates(outer, tuple(part for name, part in parts.items() if name in outer.symbols()))
