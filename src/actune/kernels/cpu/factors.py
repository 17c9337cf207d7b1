"""Formulas in which factors that meet are one factor, and signs have moved to where they cost nothing.

Of 0.5*(a*f(x)) there is left (0.5*a)*f(x), of which the first product is computed once a strip. No factor changes places with a
part that x is in: of the largest numbers, one order overflows and another does not.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from ...language.expr import Expr, const, order

__all__ = ["gathered", "product", "with_number"]

_ZERO, _ONE = const(0), const(1)


@dataclass(frozen=True)
class _Scaled:
    """A number times formulas without x, times a formula.

    still   the formulas without x, each with its place among all nodes, by which they are sorted
    """

    e: Expr
    number: float = 1.0
    still: tuple[tuple[int, Expr], ...] = ()

    @property
    def is_negative(self) -> bool:
        """Whether this is a formula with the other sign, and nothing else."""
        return self.number == -1 and not self.still and self.e is not _ONE

    def expr(self) -> Expr:
        if not self.still:
            return product(self.number, self.e)
        still = self.still[0][1]
        for _, factor in self.still[1:]:
            still = Expr("mul", (still, factor))
        if self.e is _ONE:
            return product(self.number, still)
        if self.number == -1:
            return Expr("neg", (Expr("mul", (still, self.e)),))
        return Expr("mul", (product(self.number, still), self.e))


def gathered(outputs: tuple[Expr, ...], moving: Collection[Expr]) -> tuple[Expr, ...]:
    """The formulas with their factors together; x is in the moving parts."""
    nodes = order(outputs)
    uses = Counter(a for n in nodes for a in n.children)
    found: dict[Expr, _Scaled] = {}
    for place, n in enumerate(nodes):
        if n.op == "const":
            found[n] = _Scaled(_ONE, n.args[0])
        elif n not in moving:
            found[n] = _Scaled(_ONE, 1.0, ((place, n),))
        elif n.is_leaf:
            found[n] = _Scaled(n)
        else:
            scaled = _combined(n, [found[a] for a in n.args])
            # What several parts need is multiplied once.
            found[n] = scaled if uses[n] < 2 or scaled.is_negative else _Scaled(scaled.expr())
    return tuple(found[e].expr() for e in outputs)


def product(number: float, e: Expr) -> Expr:
    """A number times a formula."""
    if number == 1 or e is _ONE:
        return const(number) if e is _ONE else e
    return Expr("neg", (e,)) if number == -1 else Expr("mul", (const(number), e))


def with_number(e: Expr) -> tuple[float, Expr]:
    """A formula as the number that it begins with, and the rest."""
    sign, e = (-1.0, e.args[0]) if e.op == "neg" else (1.0, e)
    return (sign * e.args[0].args[0], e.args[1]) if e.op == "mul" and e.args[0].op == "const" else (sign, e)


def _combined(n: Expr, arguments: list[_Scaled]) -> _Scaled:
    rule = _RULES.get(n.op)
    scaled = rule(n, *arguments) if rule else None
    return scaled or _Scaled(Expr(n.op, tuple(a.expr() for a in arguments)))


def _mul(n: Expr, a: _Scaled, b: _Scaled) -> _Scaled | None:
    if _ONE in (a.e, b.e):
        number = a.number * b.number
        if not 2.0**-100 < abs(number) < 2.0**100:  # the others are near the ends of the range, one by one or together
            return None
        return _Scaled(b.e if a.e is _ONE else a.e, number, tuple(sorted((*a.still, *b.still), key=operator.itemgetter(0))))
    signs = [s.is_negative for s in (a, b)]
    sides = tuple(s.e if negative else s.expr() for s, negative in zip((a, b), signs, strict=True))
    return _Scaled(Expr("mul", sides), -1.0 if signs[0] != signs[1] else 1.0)


def _div(n: Expr, a: _Scaled, b: _Scaled) -> _Scaled | None:
    return _Scaled(Expr("div", (a.e, b.expr())), -1.0) if a.is_negative else None


def _neg(n: Expr, a: _Scaled) -> _Scaled:
    return replace(a, number=-a.number)


def _add(n: Expr, a: _Scaled, b: _Scaled) -> _Scaled | None:
    b = b if n.op == "add" else replace(b, number=-b.number)
    if a.is_negative and b.is_negative:
        return _Scaled(Expr("add", (a.e, b.e)), -1.0)
    if b.number < 0 and b.e is not _ONE:
        return _Scaled(Expr("sub", (a.expr(), replace(b, number=-b.number).expr())))
    if a.number < 0 and a.e is not _ONE:
        return _Scaled(Expr("sub", (b.expr(), replace(a, number=-a.number).expr())))
    return None


def _where(n: Expr, condition: _Scaled, a: _Scaled, b: _Scaled) -> _Scaled | None:
    chosen, sides = condition.expr(), (a.expr(), b.expr())
    if sides[0] is _ZERO and chosen is Expr("==", (b.e, _ZERO)):  # nothing but zero is replaced by zero
        return b
    if not all(s.is_negative or side is _ZERO for s, side in zip((a, b), sides, strict=True)):
        return None
    opposite = (s.e if s.is_negative else _ZERO for s in (a, b))
    return _Scaled(Expr("where", (chosen, *opposite)), -1.0)


def _equal(n: Expr, a: _Scaled, b: _Scaled) -> _Scaled | None:
    return _Scaled(Expr(n.op, (a.e, b.e))) if a.is_negative and b.is_negative else None


_RULES: dict[str, Callable[..., _Scaled | None]] = {
    "mul": _mul, "div": _div, "neg": _neg, "add": _add, "sub": _add, "where": _where, "==": _equal,
}  # fmt: skip
