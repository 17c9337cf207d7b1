"""Smooth versions of piecewise-linear functions: convolution with an approximate identity, in closed form.

A continuous piecewise-linear function is a line plus ramps, `p + q*x + sum_i w_i*relu(x - c_i)`. Convolution is linear, so it is
enough to know the smooth ramp of each kernel. The idea is that of SAU (arXiv 2109.13210), which takes the Gaussian.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from ..language.expr import Expr, FormulaError, lift, symbol
from ..language.functions import abs as absolute
from ..language.functions import clip, erfc, exp, pi, relu, softplus, sqrt, square, where
from .registry import Family, resolve

__all__ = ["SMOOTHING_KERNELS", "gaussian_ramp", "smooth"]

# A ramp is the convolution of relu with a density of the given width: nearly relu(t) for |t| far above the width, smooth between.


def gaussian_ramp(t: Expr, width: Expr) -> Expr:
    """relu * normal density; the width is the standard deviation. Beyond 40 of these the tail is 0 in every dtype."""
    z = clip(t / width / sqrt(2), -28, 28)
    return t * (erfc(-z) / 2) + width / sqrt(2 * pi()) * exp(-square(z))


def logistic_ramp(t: Expr, width: Expr) -> Expr:
    """relu * logistic density, which is softplus; the width is the scale of the density."""
    return width * softplus(t / width)


def uniform_ramp(t: Expr, width: Expr) -> Expr:
    """relu * uniform density on [-width, width]: a parabola between."""
    return square(clip(t, -width, width) + width) / (4 * width) + relu(t - width)


def triangular_ramp(t: Expr, width: Expr) -> Expr:
    """relu * triangular density on [-width, width]: two cubics between."""
    left, right = relu(t + width), relu(width - t)
    return where(t < 0, left * square(left / width) / 6, t + right * square(right / width) / 6)


SMOOTHING_KERNELS = {"gaussian": gaussian_ramp, "logistic": logistic_ramp, "uniform": uniform_ramp, "triangular": triangular_ramp}


def smooth(function: str | Family | Expr, kernel: str = "gaussian", width: Any = 1.0) -> Expr:
    """The closed form of a piecewise-linear function, convolved with a kernel.

    function  a formula, a family or its name, continuous and piecewise linear in `x`: built from x, constants and parameters
              by + - * /, neg, abs, relu, max, min, clip, and where with a comparison of x
    kernel    "gaussian" (width: standard deviation), "logistic" (scale), "uniform" or "triangular" (half of the support)
    width     a positive number, or a formula of parameters

    Parameters of the function stay parameters, unless where its kinks are depends on which of several parameters is larger.
    Raises FormulaError for a function that is not continuous and piecewise linear.
    """
    if kernel not in SMOOTHING_KERNELS:
        raise ValueError(f"kernel must be one of {', '.join(SMOOTHING_KERNELS)}, got {kernel!r}")
    if not isinstance(width, Expr) and not width > 0:
        raise ValueError(f"width must be positive, got {width!r}")
    e = function if isinstance(function, Expr) else resolve(function).expr
    line = ramps(e)
    total = line.p if line.q is _ZERO else line.p + line.q * symbol("x")
    for c, w in line.knots:
        total = total + w * SMOOTHING_KERNELS[kernel](symbol("x") - c, lift(width))
    return total.simplify()


@dataclass(frozen=True)
class Ramps:
    """The function p + q*x + sum of w*relu(x - c) over the knots (c, w), where p, q, c and w are formulas without x."""

    p: Expr
    q: Expr
    knots: tuple[tuple[Expr, Expr], ...] = ()

    def __add__(self, other: Ramps) -> Ramps:
        weights: dict[Expr, Expr] = {}
        for c, w in self.knots + other.knots:
            weights[c] = (weights[c] + w).simplify() if c in weights else w
        kept = tuple((c, w) for c, w in weights.items() if w is not _ZERO)
        return Ramps((self.p + other.p).simplify(), (self.q + other.q).simplify(), kept)

    def scaled(self, k: Any) -> Ramps:
        """The function times k, a number or a formula without x."""
        return Ramps(
            _finite_product(k, self.p), _finite_product(k, self.q), tuple((c, _finite_product(k, w)) for c, w in self.knots)
        )

    @property
    def is_constant(self) -> bool:
        """Whether x does not occur in the function."""
        return self.q is _ZERO and not self.knots

    @property
    def is_numeric(self) -> bool:
        """Whether no parameter occurs in the function."""
        return all(e.op == "const" for e in (self.p, self.q, *(part for knot in self.knots for part in knot)))

    def at(self, x: float) -> float:
        """The value at x of a function without parameters."""
        return (
            _plain_number(self.p)
            + _plain_number(self.q) * x
            + sum(_plain_number(w) * max(x - _plain_number(c), 0.0) for c, w in self.knots)
        )


_ZERO = lift(0.0)


def _finite_product(a: Any, b: Expr) -> Expr:
    """The product of two numbers or formulas that are finite, so that 0 times anything is 0 (`simplify` may not assume that)."""
    return _ZERO if b is _ZERO or lift(a) is _ZERO else (lift(a) * b).simplify()


def ramps(e: Expr) -> Ramps:
    """A continuous piecewise-linear formula as ramps; raises FormulaError for any other."""
    x, plain = symbol("x"), e.expand().simplify()
    done: dict[Expr, Ramps] = {}
    for n in plain.nodes():
        if "x" not in n.symbols():
            done[n] = Ramps(n, _ZERO)
        elif n is x:
            done[n] = Ramps(_ZERO, lift(1.0))
        elif n.op in _READ:
            done[n] = _READ[n.op](n, *(done[a] for a in n.args))
        elif n.op in ("<", "<=", ">", ">="):
            done[n] = done[n.args[0]] + done[n.args[1]].scaled(-1)
        else:
            raise FormulaError(f"cannot smooth {e}: {n.op} is not piecewise linear; use + - * / abs relu max min clip where")
    return done[plain]


def _product(n: Expr, f: Ramps, g: Ramps) -> Ramps:
    if not f.is_constant and not g.is_constant:
        raise FormulaError(f"cannot smooth a function with {n}: a product of two functions of x is not piecewise linear")
    return f.scaled(g.p) if g.is_constant else g.scaled(f.p)


def _quotient(n: Expr, f: Ramps, g: Ramps) -> Ramps:
    if not g.is_constant:
        raise FormulaError(f"cannot smooth a function with {n}: a quotient by a function of x is not piecewise linear")
    return f.scaled((1 / g.p).simplify())


def _relu(n: Expr, f: Ramps) -> Ramps:
    """relu(f). All other functions with a kink are made from it: |f| = 2 relu(f) - f, max(f, g) = f + relu(g - f)."""
    if f.is_constant:
        return Ramps(relu(f.p), _ZERO)
    if not f.knots:  # relu(q*(x - c)): a ramp to the right for q > 0, to the left for q < 0
        c = _crossing(f)
        steep, down = (
            (lift(abs(_plain_number(f.q))), lift(max(-_plain_number(f.q), 0.0)))
            if f.q.op == "const"
            else (absolute(f.q), relu(-f.q))
        )
        return Ramps(_finite_product(down, c), (-down).simplify(), ((c, steep),))
    if not f.is_numeric:
        raise FormulaError(f"cannot smooth a function with {n}: its kinks depend on parameters; give them values")
    # A function without parameters may have a new kink in any piece, where it crosses zero.
    knots = sorted(_plain_number(c) for c, _ in f.knots)
    return _through(sorted({*knots, *_roots(f, knots)}), lambda t: max(f.at(t), 0.0))


def _crossing(line: Ramps) -> Expr:
    """The x at which the line p + q*x is zero."""
    return _ZERO if line.p is _ZERO else (-line.p / line.q).simplify()


def _roots(f: Ramps, knots: list[float]) -> list[float]:
    """The points where a function without parameters crosses zero, at most one per piece."""
    ends = [knots[0] - 1.0, *knots, knots[-1] + 1.0]
    found = []
    for i, (left, right) in enumerate(pairwise(ends)):
        a, b = f.at(left), f.at(right)
        if a != b:
            root = left - a * (right - left) / (b - a)
            if (i == 0 or root >= left) and (i == len(ends) - 2 or root <= right):
                found.append(root)
    return found


def _through(knots: list[float], f: Any) -> Ramps:
    """The ramps of a piecewise-linear function that is given by its values and the knots between its pieces."""
    ends = [knots[0] - 1.0, *knots, knots[-1] + 1.0]
    slopes = [(f(b) - f(a)) / (b - a) for a, b in pairwise(ends)]
    changes = tuple(
        (lift(c), lift(after - before)) for c, before, after in zip(knots, slopes, slopes[1:], strict=False) if after != before
    )
    return Ramps(lift(f(knots[0]) - slopes[0] * knots[0]), lift(slopes[0]), changes)


def _abs(n: Expr, f: Ramps) -> Ramps:
    return _relu(n, f).scaled(2) + f.scaled(-1)


def _max(n: Expr, f: Ramps, g: Ramps) -> Ramps:
    return f + _relu(n, g + f.scaled(-1))


def _min(n: Expr, f: Ramps, g: Ramps) -> Ramps:
    return f + _relu(n, f + g.scaled(-1)).scaled(-1)


def _smooth_clip(n: Expr, f: Ramps, low: Ramps, high: Ramps) -> Ramps:
    if not f.knots and low.is_constant and high.is_constant:  # since low <= high: two ramps, for any values of the parameters
        return low + _relu(n, f + low.scaled(-1)) + _relu(n, f + high.scaled(-1)).scaled(-1)
    return _min(n, _max(n, f, low), high)


def _where_ramps(n: Expr, side: Ramps, f: Ramps, g: Ramps) -> Ramps:
    """The function that is f where a comparison holds and g elsewhere.

    side   left minus right side of the comparison: a line that is zero at one point c, where f and g must have the same value
    """
    if side.knots or side.q.op != "const":
        raise FormulaError(f"cannot smooth a function with {n.args[0]}: compare x with a number or a parameter")
    # Beyond c the function is `right`, before it `left`. Two cases can be written as ramps:
    #
    # - both are lines: the left one, plus a ramp at c that changes the slope. where(x < 1, 2*x, x + 1) is 2*x - relu(x - 1). They
    #   must meet at c; with parameters that is known where both pass through the same p at c = 0.
    # - both are without parameters: the knots of `left` before c, c itself, and the knots of `right` beyond it.
    c = _crossing(side)
    rising = (_plain_number(side.q) > 0) == (n.args[0].op in (">", ">="))
    right, left = (f, g) if rising else (g, f)
    if not left.knots and not right.knots:
        jump = (right.p - left.p + _finite_product((right.q - left.q).simplify(), c)).simplify()
        if (jump.op == "const" and abs(_plain_number(jump)) < 1e-12) or (right.p is left.p and c is _ZERO):
            return replace(left, knots=((c, (right.q - left.q).simplify()),))
    elif (
        left.is_numeric
        and right.is_numeric
        and c.op == "const"
        and abs(left.at(_plain_number(c)) - right.at(_plain_number(c))) < 1e-12
    ):
        at = _plain_number(c)
        knots = sorted(
            {
                at,
                *(_plain_number(k) for k, _ in left.knots if _plain_number(k) < at),
                *(_plain_number(k) for k, _ in right.knots if _plain_number(k) > at),
            }
        )
        return _through(knots, lambda t: left.at(t) if t < at else right.at(t))
    raise FormulaError(f"cannot smooth a function with {n}: it is not known to be continuous at x = {c}")


def _plain_number(e: Expr) -> float:
    return float(e.args[0])


_READ: dict[str, Any] = {
    "add": lambda n, f, g: f + g, "sub": lambda n, f, g: f + g.scaled(-1), "neg": lambda n, f: f.scaled(-1),
    "mul": _product, "div": _quotient, "relu": _relu, "abs": _abs, "max": _max, "min": _min, "clip": _smooth_clip,
    "where": _where_ramps,
}  # fmt: skip
