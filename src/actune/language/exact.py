"""A formula in exact arithmetic: mpmath for numbers to any number of digits, SymPy for LaTeX.

Both read the `exact` column of the table of primitives, which is written over a namespace `S`; the two classes here are that
namespace. Neither library is imported before it is needed.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from typing import Any

from .expr import Expr, FormulaError, const
from .ops import OPS

__all__ = ["folded", "latex", "to_sympy", "value"]

_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne}

LARGE = 1e5  # beyond e to this, a number counts as infinite: mpmath would go on, with exponents that fill the memory


# -- the namespaces S ----------------------------------------------------------------------------------------------------


class _Mpmath:
    """mpmath under the names that the table uses."""

    def __init__(self) -> None:
        import mpmath

        self.mp = mpmath.mp
        self.Abs, self.Max, self.Min = abs, max, min

    def __getattr__(self, name: str) -> Any:
        return getattr(self.mp, name)

    def exp(self, a: Any) -> Any:
        return self.mp.exp(a) if abs(a) < LARGE or self.mp.isnan(a) else self.mp.inf if a > 0 else self.mp.zero

    def expm1(self, a: Any) -> Any:
        return self.mp.expm1(a) if abs(a) < LARGE or self.mp.isnan(a) else self.mp.inf if a > 0 else -self.mp.one

    def sinh(self, a: Any) -> Any:
        return self.mp.sinh(a) if abs(a) < LARGE or self.mp.isnan(a) else self.mp.inf * self.mp.sign(a)

    def cosh(self, a: Any) -> Any:
        return self.mp.cosh(a) if abs(a) < LARGE or self.mp.isnan(a) else self.mp.inf

    def pow(self, a: Any, b: Any) -> Any:
        if a == 0:
            return self.mp.inf if b < 0 else self.mp.mpf(b == 0)
        size = b * self.log(abs(a))
        if not abs(size) < LARGE or (a < 0 and not self.mp.isint(b)):
            return self.mp.nan if a < 0 or self.mp.isnan(size) else self.exp(size)
        return self.mp.power(a, b)

    def scaled_besseli(self, n: int, a: Any) -> Any:
        """e^-|a| I_n(a); for large |a| by twelve terms of the asymptotic series (DLMF 10.40.1), exact to 60 digits there."""
        if not abs(a) >= LARGE:
            return self.mp.exp(-abs(a)) * self.mp.besseli(n, a)
        term = total = self.mp.one
        for k in range(1, 12):
            term *= -(4 * n**2 - (2 * k - 1) ** 2) / (8 * k * abs(a))
            total += term
        return (self.mp.sign(a) if n % 2 else 1) * total / self.mp.sqrt(2 * self.mp.pi * abs(a))

    def log(self, a: Any) -> Any:
        return self.mp.ninf if a == 0 else self.mp.log(a) if a > 0 else self.mp.nan

    def log1p(self, a: Any) -> Any:
        return self.mp.ninf if a == -1 else self.mp.log1p(a) if a > -1 else self.mp.nan

    def sqrt(self, a: Any) -> Any:
        return self.mp.sqrt(a) if a >= 0 else self.mp.nan

    def mittag_leffler(self, order: tuple[int, int, int], *args: Any) -> Any:
        from ..special.exact import derivative

        m, t = derivative(order, *args)
        return m * self.exp(t)

    def mittag_leffler_ratio(self, order: tuple[int, int, int], *args: Any) -> Any:
        from ..special.exact import derivative, scaled

        (above, up), (below, down) = derivative(order, *args[:3]), scaled(*args[3:])
        return above / below * self.exp(up - down)

    def Where(self, condition: bool, a: Any, b: Any) -> Any:
        return a if condition else b

    def compare(self, sign: str, a: Any, b: Any) -> bool:
        return _COMPARE[sign](a, b)


class _Sympy:
    """SymPy under the names that the table uses."""

    def __init__(self) -> None:
        import sympy

        self.sympy = sympy

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sympy, name)

    def expm1(self, a: Any) -> Any:
        return self.sympy.exp(a) - 1

    def log1p(self, a: Any) -> Any:
        return self.sympy.log(1 + a)

    def scaled_besseli(self, n: int, a: Any) -> Any:
        return self.sympy.exp(-abs(a)) * self.sympy.besseli(n, a)

    def pow(self, a: Any, b: Any) -> Any:
        return a**b

    def mittag_leffler(self, order: tuple[int, int, int], *args: Any) -> Any:
        return _sympy_function(order)(*args)

    def mittag_leffler_ratio(self, order: tuple[int, int, int], *args: Any) -> Any:
        return _sympy_function(order)(*args[:3]) / _sympy_function((0, 0, 0))(*args[3:])

    def Where(self, condition: Any, a: Any, b: Any) -> Any:
        return self.sympy.Piecewise((a, condition), (b, True))

    def compare(self, sign: str, a: Any, b: Any) -> Any:
        return self.sympy.Rel(a, b, sign)


# -- values, constants, LaTeX --------------------------------------------------------------------------------------------


def value(e: Expr, values: Mapping[str, Any]) -> Any:
    """The value at these numbers as an mpmath number, with mpmath's current precision (`mpmath.workdps(60)`).

    A division by zero gives nan. A float stands for the exact binary number that it is.
    """
    S = _mpmath()
    given = {name: S.mp.mpf(v) for name, v in values.items()}

    def node(n: Expr, *args: Any) -> Any:
        try:
            return OPS[n.op].exact(S, *args)  # type: ignore[misc]
        except ZeroDivisionError:
            return S.mp.nan

    return e.expand().fold(lambda n: given[n.args[0]] if n.op == "symbol" else S.mp.mpf(n.args[0]), node)


def folded(e: Expr, digits: int | None = None) -> Expr:
    """Replace each part without symbols by its number, computed exactly and rounded once: sqrt(2/pi).

    digits   replace only by numbers with at most this many decimal digits: sigmoid(0) becomes 0.5, but sqrt(2/pi) stays, for it
             says more than 0.7978845608028654
    """

    def node(n: Expr, *args: Expr) -> Expr:
        if n.is_comparison or n.op == "where" or any(a.op != "const" for a in args):
            return Expr(n.op, args)
        try:
            number = float(value(Expr(n.op, args), {}))
            return const(number) if digits is None or number == float(f"{number:.{digits}g}") else Expr(n.op, args)
        except (FormulaError, TypeError, OverflowError):  # not a finite real number: left to torch, which gives inf or nan
            return Expr(n.op, args)

    return e.fold(lambda n: n, node)


def to_sympy(e: Expr, *, named: bool = False) -> Any:
    """The formula as a SymPy expression; with `named`, functions such as the sigmoid keep their name."""
    S = _sympy()

    def node(n: Expr, *args: Any) -> Any:
        op = OPS[n.op]
        if named and op.show:
            return S.sympy.Function(op.show)(*args)
        return op.exact(S, *args)  # type: ignore[misc]

    def leaf(n: Expr) -> Any:
        if n.op == "symbol":
            return S.sympy.Symbol(n.args[0], real=True)
        number = n.args[0]
        return (
            S.sympy.Integer(int(number))
            if number.is_integer() and abs(number) < 1e15
            else S.sympy.Float(repr(number))
            if named
            else S.sympy.Rational(number)
        )

    return (e if named else e.expand()).fold(leaf, node)


def latex(e: Expr) -> str:
    """The formula in LaTeX, functions by their usual names."""
    return _sympy().sympy.latex(to_sympy(e, named=True))


@functools.cache
def _sympy_function(order: tuple[int, int, int]) -> Any:
    """A derivative of E as a SymPy function, which can be printed in LaTeX and evaluated, and nothing else."""
    import sympy

    def show(self: Any, printer: Any, exp: str | None = None) -> str:
        z, alpha, beta = map(printer._print, self.args)
        name = f"E^{{({','.join(map(str, order))})}}" if any(order) else "E"
        text = rf"{name}_{{{alpha},{beta}}}\left({z}\right)"
        return rf"\left({text}\right)^{{{exp}}}" if exp else text

    def number(self: Any, prec: int) -> Any:
        S = _mpmath()
        with S.mp.workprec(prec):
            return sympy.Float(S.mittag_leffler(order, *(S.mp.mpf(a._to_mpmath(prec)) for a in self.args)), precision=prec)

    return type("MittagLeffler", (sympy.Function,), {"nargs": 3, "_latex": show, "_eval_evalf": number, "order": order})


@functools.cache
def _mpmath() -> Any:
    return _Mpmath()


@functools.cache
def _sympy() -> Any:
    return _Sympy()
