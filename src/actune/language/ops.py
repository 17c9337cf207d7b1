"""The table of primitives: a row per primitive, a column per target.

A row is data. Its derivative is a formula in the package's own language over the arguments `a, b, c, …` and the value `y`.
Its exact form is written once over a namespace `S`, which is SymPy for display and mpmath for numbers.
A new primitive is a new row, a new target (such as a kernel) a new column.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..special.contour import Order, raised
from ..special.function import mittag_leffler_derivatives, mittag_leffler_scaled
from .elementary import KERNELS

__all__ = ["ALIASES", "OPS", "Op"]


@dataclass(frozen=True)
class Op:
    """One primitive, or a function defined by a formula over the primitives (then `definition` is its only column).

    torch       floating-point tensors to a tensor; accurate to a few units in the last place over the whole range
    grad        the partial derivative in each argument, text in the language; the value that torch takes at a kink
    slope       instead of `grad`: the whole derivative, from those of the arguments, `da, db, dc`, where it selects among them
    exact       (S, *arguments): the definition in exact arithmetic
    infix       how text writes it, with `binds` its precedence; None: a call, `name(a, b)`
    boolean     the value is a truth value: only `where` takes it
    show        the name in LaTeX, where the exact form would hide what is meant
    definition  the formula over the argument `a`, an Expr
    float64     the whole formula around it is computed in float64 and rounded once
    several     (orders, *arguments): several derivatives at once, for less than one by one; `order` is that of this row
    kernel      (K, *arguments): vector code over a `Lanes` namespace K, with the special values of `torch`; see elementary.py
    onnx        what stands for `torch` in an ONNX file, where torch's exporter writes that with fewer digits, a smaller range or
                not at all; None: nothing in ONNX computes it, so a formula with it is not exported
    """

    name: str
    arity: int
    torch: Callable[..., Tensor] | None = None
    grad: tuple[str, ...] = ()
    exact: Callable[..., Any] | None = None
    infix: str | None = None
    binds: int = 9
    boolean: bool = False
    slope: str | None = None
    show: str | None = None
    definition: Any = None
    float64: bool = False
    several: Callable[..., tuple[Tensor, ...]] | None = None
    order: Order = (0, 0, 0)
    kernel: Callable[..., Any] | None = None
    onnx: Callable[..., Tensor] | Literal["as torch"] | None = "as torch"


OPS: dict[str, Op] = {}

# Other names that people type for the same primitive.
ALIASES = {
    "maximum": "max", "minimum": "min", "clamp": "clip", "arctan": "atan", "arcsinh": "asinh", "ln": "log", "logistic": "sigmoid",
    "logsigmoid": "log_sigmoid", "absolute": "abs", "power": "pow", "bessel_i0e": "i0e", "bessel_i1e": "i1e", "sgn": "sign",
}  # fmt: skip


def _series(a: str, coefficients: list[float]) -> str:
    """A polynomial in `a` as text, lowest coefficient first, for the rules that need one near zero (Horner)."""
    text = repr(coefficients[-1])
    for c in coefficients[-2::-1]:
        text = f"({c!r} + {a}*{text})"
    return text


# I1'(a) = sum_k (2k+1)/2 (a/2)^2k / (k! (k+1)!): for |a| < 1/2, where I0(a) - I1(a)/a divides zero by zero in its own derivative.
_I1_SLOPE = _series("square(a)", [(2 * k + 1) / 2 / 4**k / (math.factorial(k) * math.factorial(k + 1)) for k in range(9)])
# (cos(t) - sin(t)/t)/t = sum_k (-1)^k 2k t^(2k-1) / (2k+1)!: for |t| < 1, where the quotient cancels.
# (No where(a == 0, 0, ...): the second derivative at 0 would then be 0, not -pi^2/3.)
_SINC_SLOPE = _series("square(pi*a)", [(-1) ** k * 2 * k / math.factorial(2 * k + 1) for k in range(1, 12)])
# What a slope is at a tie is declared here, whatever autograd of the installed torch does: max and min share it; clip gives all of
# it to the value, and nothing to anybody where its two limits meet above the value (as torch 2.13; 2.14 shares that of a clip too).
_TIE = "where(a {0}= b, where(a == b, 0.5*da + 0.5*db, da), db)"
_CLIP = "where(c < b, dc, where(y == a, da, where(a < b, where(b == c, 0, db), dc)))"

_compare: dict[str, tuple[Callable[..., Tensor], Callable[..., Any]]] = {
    "<": (torch.lt, operator.lt), "<=": (torch.le, operator.le), ">": (torch.gt, operator.gt), ">=": (torch.ge, operator.ge),
    "==": (torch.eq, operator.eq), "!=": (torch.ne, operator.ne),
}  # fmt: skip


def _i1e(a: Tensor) -> Tensor:
    # torch.special.i1e is wrong at infinity (nan); the limit is zero.
    return torch.where(a.isinf(), torch.zeros_like(a), torch.special.i1e(a))


def _i0e(a: Tensor) -> Tensor:
    return torch.where(a.isinf(), torch.zeros_like(a), torch.special.i0e(a))


def _softplus(a: Tensor) -> Tensor:
    # F.softplus drops log1p(exp(-a)) above its threshold of 20: 2e-9, which float64 sees.
    return torch.logaddexp(a, torch.zeros((), dtype=a.dtype, device=a.device))


def _onnx_hypot(a: Tensor, b: Tensor) -> Tensor:
    high, low = torch.maximum(a.abs(), b.abs()), torch.minimum(a.abs(), b.abs())
    return torch.where((high > 0) & (high < math.inf), high * torch.sqrt(1 + torch.square(low / high)), high)


def _onnx_expm1(a: Tensor) -> Tensor:
    # (u - 1)*a/log(u) has the digits that u - 1 has lost: both have the same error in u (Kahan).
    u = torch.exp(a)
    return torch.where(a.abs() < 1, torch.where(u == 1, a, (u - 1) * (a / torch.log(u))), u - 1)


def _onnx_log1p(a: Tensor) -> Tensor:
    u = 1 + a
    return torch.where(a.abs() < 0.5, torch.where(u == 1, a, torch.log(u) * (a / (u - 1))), torch.log(u))


def _onnx_softplus(a: Tensor) -> Tensor:
    # Runtimes have no Softplus in float64; torch's exporter writes the other form with log1p as log(1 + a).
    return torch.relu(a) + _onnx_log1p(torch.exp(-a.abs())) if a.dtype == torch.float64 else F.softplus(a)


def _log_sigmoid(a: Tensor) -> Tensor:
    # F.logsigmoid lays its result out in rows, whatever the layout of a.
    y = F.logsigmoid(a)
    return y if y.stride() == a.stride() else torch.empty_like(a).copy_(y)


def _name(stem: str, order: Order) -> str:
    """The name of a row: the stem alone, or with the order of the derivative, as `mittag_leffler_010`."""
    return stem + "_{}{}{}".format(*order) * any(order)


def _values(orders: tuple[Order, ...], z: Tensor, alpha: Tensor, beta: Tensor) -> tuple[Tensor, ...]:
    return mittag_leffler_derivatives(z, alpha, beta, orders)


def _ratios(orders: tuple[Order, ...], a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, f: Tensor) -> tuple[Tensor, ...]:
    (*above, up), (below, down) = mittag_leffler_scaled(a, b, c, orders), mittag_leffler_scaled(d, e, f)
    return tuple(m / below * (up - down).exp() for m in above)


def _mittag_leffler(order: Order) -> Op:
    """The row of E_{b,c}(a) or of a derivative of it; derivatives of second order have no rule for a third."""
    stem = "mittag_leffler"
    rules = tuple(f"{_name(stem, raised(order, n))}(a, b, c)" for n in range(3))
    return Op(_name(stem, order), 3, lambda *t: _values((order,), *t)[0], rules if sum(order) < 2 else (),
              lambda S, *a: S.mittag_leffler(order, *a), float64=True, several=_values, order=order)  # fmt: skip


def _mittag_leffler_ratio(order: Order) -> Op:
    """The row of E_{b,c}(a) / E_{e,f}(d), or of a derivative of the numerator over the denominator."""
    stem = "mittag_leffler_ratio"
    upper = (f"{_name(stem, raised(order, n))}(a, b, c, d, e, f)" for n in range(3))
    lower = (f"-(y*{_name(stem, raised((0, 0, 0), n))}(d, e, f, d, e, f))" for n in range(3))
    return Op(_name(stem, order), 6, lambda *t: _ratios((order,), *t)[0], (*upper, *lower) if sum(order) < 2 else (),
              lambda S, *a: S.mittag_leffler_ratio(order, *a), float64=True, several=_ratios, order=order)  # fmt: skip


_ORDERS = [(i, j, k) for i in range(3) for j in range(3 - i) for k in range(3 - i - j)]

_ROWS = (
    # arithmetic
    Op("add", 2, torch.add, ("1", "1"), lambda S, a, b: a + b, "+", 2, kernel=lambda K, a, b: a + b),
    Op("sub", 2, torch.sub, ("1", "-1"), lambda S, a, b: a - b, "-", 2, kernel=lambda K, a, b: a - b),
    Op("mul", 2, torch.mul, ("b", "a"), lambda S, a, b: a * b, "*", 3, kernel=lambda K, a, b: a * b),
    Op("div", 2, torch.div, ("1/b", "-y/b"), lambda S, a, b: a / b, "/", 3, kernel=lambda K, a, b: a / b),
    Op("neg", 1, torch.neg, ("-1",), lambda S, a: -a, "-", 4, kernel=lambda K, a: -a),
    Op("pow", 2, torch.pow, ("where(b == 0, 0, b*a^(b - 1))", "where(a == 0, where(b >= 0, 0, y*log(a)), y*log(a))"),
       lambda S, a, b: S.pow(a, b), "^", 5, kernel=KERNELS["pow"]),
    Op("abs", 1, torch.abs, ("sign(a)",), lambda S, a: S.Abs(a), kernel=lambda K, a: K.abs(a)),
    Op("sign", 1, torch.sign, ("0",), lambda S, a: S.sign(a), kernel=KERNELS["sign"]),
    Op("square", 1, torch.square, ("2*a",), lambda S, a: a**2, kernel=lambda K, a: a * a),
    Op("reciprocal", 1, torch.reciprocal, ("-(y*y)",), lambda S, a: 1 / a, kernel=lambda K, a: 1.0 / a),
    Op("sqrt", 1, torch.sqrt, ("0.5/y",), lambda S, a: S.sqrt(a), kernel=lambda K, a: K.sqrt(a)),
    Op("hypot", 2, torch.hypot, ("a/y", "b/y"), lambda S, a, b: S.sqrt(a**2 + b**2), onnx=_onnx_hypot, kernel=KERNELS["hypot"]),
    Op("pi", 0, None, (), lambda S: S.pi, kernel=lambda K: K.const(math.pi)),
    # exponentials and logarithms
    Op("exp", 1, torch.exp, ("y",), lambda S, a: S.exp(a), kernel=KERNELS["exp"]),
    Op("expm1", 1, torch.expm1, ("exp(a)",), lambda S, a: S.expm1(a), onnx=_onnx_expm1, kernel=KERNELS["expm1"]),
    Op("log", 1, torch.log, ("1/a",), lambda S, a: S.log(a), kernel=KERNELS["log"]),
    Op("log1p", 1, torch.log1p, ("1/(1 + a)",), lambda S, a: S.log1p(a), onnx=_onnx_log1p, kernel=KERNELS["log1p"]),
    Op("sigmoid", 1, torch.sigmoid, ("y*sigmoid(-a)",), lambda S, a: 1 / (1 + S.exp(-a)), show="sigma",
       kernel=KERNELS["sigmoid"]),
    Op("log_sigmoid", 1, _log_sigmoid, ("sigmoid(-a)",), lambda S, a: -S.Max(-a, 0) - S.log1p(S.exp(-S.Abs(a))), show="logsigmoid",
       onnx=lambda a: -_onnx_softplus(-a), kernel=KERNELS["log_sigmoid"]),
    Op("softplus", 1, _softplus, ("sigmoid(a)",), lambda S, a: S.Max(a, 0) + S.log1p(S.exp(-S.Abs(a))), show="softplus",
       onnx=_onnx_softplus, kernel=KERNELS["softplus"]),
    # trigonometric and hyperbolic
    Op("sin", 1, torch.sin, ("cos(a)",), lambda S, a: S.sin(a), kernel=KERNELS["sin"]),
    Op("cos", 1, torch.cos, ("-sin(a)",), lambda S, a: S.cos(a), kernel=KERNELS["cos"]),
    Op("sinc", 1, torch.sinc, (f"where(abs(pi*a) < 1, pi*(pi*a)*{_SINC_SLOPE}, (cos(pi*a) - y)/a)",),
       lambda S, a: S.sinc(S.pi * a), kernel=KERNELS["sinc"]),
    Op("sinh", 1, torch.sinh, ("cosh(a)",), lambda S, a: S.sinh(a), kernel=KERNELS["sinh"]),
    Op("cosh", 1, torch.cosh, ("sinh(a)",), lambda S, a: S.cosh(a), kernel=KERNELS["cosh"]),
    Op("tanh", 1, torch.tanh, ("4*(sigmoid(2*a)*sigmoid(-2*a))",), lambda S, a: S.tanh(a), kernel=KERNELS["tanh"]),
    Op("asinh", 1, torch.asinh, ("1/sqrt(1 + square(a))",), lambda S, a: S.asinh(a), kernel=KERNELS["asinh"]),
    Op("atan", 1, torch.atan, ("1/(1 + square(a))",), lambda S, a: S.atan(a), kernel=KERNELS["atan"]),
    # special functions
    Op("erf", 1, torch.erf, ("2/sqrt(pi)*exp(-square(a))",), lambda S, a: S.erf(a), kernel=KERNELS["erf"]),
    Op("erfc", 1, torch.erfc, ("-(2/sqrt(pi))*exp(-square(a))",), lambda S, a: S.erfc(a), kernel=KERNELS["erfc"]),
    Op("i0e", 1, _i0e, ("i1e(a) - sign(a)*y",), lambda S, a: S.scaled_besseli(0, a), show="i0e", onnx=None,
       kernel=KERNELS["i0e"]),
    Op("i1e", 1, _i1e, (f"where(abs(a) < 0.5, exp(-abs(a))*{_I1_SLOPE}, i0e(a) - y/a) - sign(a)*y",),
       lambda S, a: S.scaled_besseli(1, a), show="i1e", onnx=None, kernel=KERNELS["i1e"]),
    *(row(order) for row in (_mittag_leffler, _mittag_leffler_ratio) for order in _ORDERS),
    # rectifiers and choices
    Op("relu", 1, torch.relu, ("where(a > 0, 1, 0)",), lambda S, a: S.Max(a, 0), show="relu", kernel=KERNELS["relu"]),
    Op("softsign", 1, F.softsign, ("1/square(1 + abs(a))",), lambda S, a: a / (1 + S.Abs(a)), show="softsign",
       kernel=KERNELS["softsign"]),
    Op("max", 2, torch.maximum, exact=lambda S, a, b: S.Max(a, b), slope=_TIE.format(">"), kernel=KERNELS["largest"]),
    Op("min", 2, torch.minimum, exact=lambda S, a, b: S.Min(a, b), slope=_TIE.format("<"), kernel=KERNELS["smallest"]),
    Op("clip", 3, torch.clamp, exact=lambda S, a, b, c: S.Min(S.Max(a, b), c), slope=_CLIP, kernel=KERNELS["clip"]),
    Op("where", 3, torch.where, exact=lambda S, c, a, b: S.Where(c, a, b),  # its derivative selects, see _diff in expr.py
       kernel=lambda K, c, a, b: K.where(c, a, b)),
    *(Op(symbol, 2, function, ("0", "0"), lambda S, a, b, symbol=symbol: S.compare(symbol, a, b), symbol, 1, boolean=True,
         kernel=lambda K, a, b, compare=compare: compare(a, b))
      for symbol, (function, compare) in _compare.items()),
)  # fmt: skip

OPS.update((row.name, row) for row in _ROWS)
