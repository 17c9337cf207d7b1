"""The two-parameter Mittag-Leffler function E_{α,β}(z) of real arguments, differentiable in all three.

    E_{α,β}(z) = Σ_{k≥0} z^k / Γ(αk + β) = 1/(2πi) ∫ e^s s^{α-β} / (s^α - z) ds

The integral (inverse Laplace, the path from -i∞ round the negative axis to +i∞ with every pole on its left) is summed by the
trapezoidal rule on a fixed parabola, s = μ w², w = 1 + iu, with the same nodes for every argument:

    E = h Σ_k (...)(u_k) + Σ_poles R p,      R = s^{1-β} e^s / α,   p = 1 / (1 + exp(2π (1 - w)/h)),   at s = z^{1/α}

R is the residue of a pole and p the part of it that the rule misses: 0 well inside the parabola, 1 well outside, and exact
between (Goodwin 1949; Hunter and Regan 1972). So the formula holds wherever the pole is, and its derivatives are derivatives of
E. Poles: z^{1/α} for z > 0; the pair |z|^{1/α} exp(±iπ/α) for z < 0, 1 < α ≤ 2. Close to a pole the two terms are large and
cancel, so there are two parabolas, μ = 1 and, for poles beside that, μ = 2.

Three rewritings of the integrand keep the relative accuracy where the integral cancels: the first term of the series apart
for |z| < 1 and small β; two terms of -Σ z^{-k}/Γ(β - αk) apart for large -z; and the difference from the elementary
E_{1,1} = e^z, E_{1,0} = z e^z, E_{0,0} = 0 in their neighbourhood, where all those terms vanish together.

References: R. Gorenflo, J. Loutchko, Yu. Luchko, Fract. Calc. Appl. Anal. 5 (2002) 491 (the integral and its residues);
R. Garrappa, SIAM J. Numer. Anal. 53 (2015) 1350 (parabolas); J. A. C. Weideman, L. N. Trefethen, Math. Comp. 76 (2007) 1341.
Everything is real arithmetic in float64 on fixed node counts; float32 and half precision are computed so and rounded once.
The formulas use only functions that NumPy and torch share, and take arrays of either. For α and β that are numbers, and a z that
is on the CPU and not being traced, NumPy is used: its calls cost a third of torch's.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import numpy
import torch
from torch import Tensor

from ..tensors import is_traced

__all__ = [
    "FINE",
    "ROUGH",
    "Order",
    "Quality",
    "are_numbers",
    "array_derivatives",
    "contour_numbers",
    "numpy_derivatives",
    "raised",
    "scaling_exponent",
]

Order: TypeAlias = tuple[int, int, int]
AnyArray: TypeAlias = Any  # a tensor, or a NumPy array or number
Rule: TypeAlias = Callable[..., AnyArray]  # elements (z, α, β, ...) -> (orders, elements)

_SCALES = (1.0, 2.0)  # μ, where a parabola crosses the positive axis: rounding errors grow like e^μ
_FAR = 6.0  # |z|^{1/α} from which, for z < 0, the algebraic terms are added separately
_NEIGHBOUR = 0.02  # distance in α and β within which an elementary neighbour is subtracted
_ELEMENTARY = ((1, 1), (1, 0), (0, 0))  # those neighbours, as (α, β)
_OVERFLOW = math.log(1e5)  # log s from which exp(s) and all its derivatives are infinite
_SCALED = 200.0  # the largest log s of the scaled form
_LARGE = 340.0  # the largest log |s| of a pole pair: its square is finite
_TINY, _WIDEST = 1e-100, 1e100  # α > 0 is raised to the first, |z| cut at the second, so that powers stay finite
_BLOCK = 512  # elements per pass, so that the (elements, nodes) arrays stay in the cache


class Quality(NamedTuple):
    """How finely the integral is summed.

    step    h: the rule's own error is e^{-2π/h}, times (2π/h)^{2b} for an integrand like s^{-b}
    depth   the parabola ends where e^s = e^{-depth}
    """

    step: float
    depth: float


FINE = Quality(2 * math.pi / 75, 60.0)  # float64: 94 nodes
ROUGH = Quality(2 * math.pi / 43, 33.0)  # float32: 40 nodes, 1e-11 in values and 1e-8 in first derivatives


def raised(order: Order, n: int) -> Order:
    """The derivative order with one more in z, α or β (n = 0, 1, 2)."""
    i, j, k = (m + (n == axis) for axis, m in enumerate(order))
    return i, j, k


# 1/Γ(1 + t) = Σ c_k t^k  (Abramowitz and Stegun 6.1.34)
_RGAMMA = (
    1.0, 0.5772156649015329, -0.6558780715202539, -0.04200263503409524, 0.16653861138229148,
    -0.04219773455554433, -0.009621971527876973, 0.0072189432466631, -0.0011651675918590652, -0.00021524167411495098,
    0.0001280502823881162, -2.013485478078824e-05, -1.2504934821426706e-06, 1.133027231981696e-06, -2.056338416977607e-07,
    6.116095104481416e-09, 5.002007644469223e-09, -1.18127457048702e-09, 1.0434267116911005e-10, 7.782263439905071e-12,
    -3.696805618642206e-12, 5.100370287454476e-13,
)  # fmt: skip

_TAYLOR = tuple(  # the Taylor coefficients of 1/Γ(1 + t) and of its derivatives, each over a factorial
    tuple(c * math.comb(k, m) for k, c in enumerate(_RGAMMA) if k >= m) + (0.0,) * m for m in range(3)
)

# The integrands over e^s s^{-β} (the logarithms apart), by the order in z and α: a power of z, and a sum of c X^p J^q with
# X = s^α, J = 1/(X - z). E itself is XJ. Each is the derivative of its first row by ∂X/∂α = X log s.
Integrands: TypeAlias = dict[tuple[int, int], tuple[int, tuple[tuple[int, int, int], ...]]]
_WHOLE: Integrands = {
    (0, 0): (0, ((1, 1, 1),)),
    (1, 0): (0, ((1, 1, 2),)),
    (2, 0): (0, ((2, 1, 3),)),
    (0, 1): (1, ((-1, 1, 2),)),
    (1, 1): (0, ((1, 1, 2), (-2, 2, 3))),
    (0, 2): (1, ((-1, 1, 2), (2, 2, 3))),
}
_FIRST_APART: Integrands = {(0, 0): (1, ((1, 0, 1),))}  # XJ - 1
_TAIL_APART: Integrands = {  # XJ + X/z + X²/z²
    (0, 0): (-2, ((1, 3, 1),)),
    (1, 0): (-3, ((-3, 3, 1), (1, 4, 2))),
    (2, 0): (-4, ((12, 3, 1), (-8, 4, 2), (2, 5, 3))),
    (0, 1): (-2, ((3, 3, 1), (-1, 4, 2))),
    (1, 1): (-3, ((-9, 3, 1), (7, 4, 2), (-2, 5, 3))),
    (0, 2): (-2, ((9, 3, 1), (-7, 4, 2), (2, 5, 3))),
}


def contour_numbers() -> dict[str, Any]:
    """The numbers and tables that these formulas are made with, as plain data, for a port to another language: FINE quality."""
    tables = {"whole": _WHOLE, "first": _WHOLE | _FIRST_APART, "tail": _TAIL_APART}
    return {
        "scales": _SCALES, "far": _FAR, "neighbour": _NEIGHBOUR, "elementary": _ELEMENTARY, "overflow": _OVERFLOW,
        "scaled": _SCALED, "large": _LARGE, "tiny": _TINY, "widest": _WIDEST, "step": FINE.step, "depth": FINE.depth,
        "taylor": _TAYLOR,
        **{name: {f"{m}{n}": row for (m, n), row in table.items()} for name, table in tables.items()},
    }  # fmt: skip


# -- arrays of NumPy and torch -------------------------------------------------------------------------------------------


def _space(x: AnyArray) -> ModuleType:
    """The library whose functions take x."""
    return torch if isinstance(x, Tensor) else numpy


def _constant(values: Any, like: AnyArray) -> AnyArray:
    return torch.tensor(values, dtype=like.dtype, device=like.device) if isinstance(like, Tensor) else numpy.array(values)


def _stack(rows: Sequence[AnyArray]) -> AnyArray:
    return torch.stack(list(rows)) if isinstance(rows[0], Tensor) else numpy.array(rows)


def _clip_array(x: AnyArray, low: Any = None, high: Any = None) -> AnyArray:
    if isinstance(x, Tensor):
        return x.clamp(low, high)
    x = x if low is None else numpy.maximum(x, low)  # half the time of numpy.clip
    return x if high is None else numpy.minimum(x, high)


@dataclass(slots=True, eq=False)  # not frozen: that would take three times as long to make
class Pair:
    """A complex number in real arithmetic, which every device and export has.

    `by` and `plus` take a real operand: Dynamo does not accept the operators between a Pair and a Tensor.
    """

    re: Any
    im: Any

    def __mul__(self, other: Pair) -> Pair:
        return Pair(self.re * other.re - self.im * other.im, self.re * other.im + self.im * other.re)

    def __add__(self, other: Pair) -> Pair:
        return Pair(self.re + other.re, self.im + other.im)

    def __sub__(self, other: Pair) -> Pair:
        return Pair(self.re - other.re, self.im - other.im)

    def by(self, real: AnyArray) -> Pair:
        return Pair(self.re * real, self.im * real)

    def plus(self, real: AnyArray) -> Pair:
        return Pair(self.re + real, self.im)

    def inverse(self) -> Pair:
        over = 1 / (self.re * self.re + self.im * self.im)
        return Pair(self.re * over, -self.im * over)

    def exp(self) -> Pair:
        xp = _space(self.re)
        size = xp.exp(self.re)
        return Pair(size * xp.cos(self.im), size * xp.sin(self.im))

    def expm1(self) -> Pair:
        xp = _space(self.re)
        half, sine = xp.sin(self.im / 2), xp.sin(self.im)
        return Pair(xp.expm1(self.re) * xp.cos(self.im) - 2 * half * half, xp.exp(self.re) * sine)


# -- the rule, and 1/Γ ---------------------------------------------------------------------------------------------------


def _nodes(mu: float, quality: Quality, like: AnyArray) -> tuple[Pair, Pair]:
    """log s and the weight e^s ds/du h/(πi) at the nodes u = (k + 1/2)h of the upper half; the lower one mirrors it."""
    if not isinstance(like, Tensor):
        return _kept_nodes(mu, quality, None)
    keep = like.device.type == "cpu" and not is_traced()
    return _kept_nodes(mu, quality, like.device) if keep else _new_nodes(mu, quality, like.device)


@functools.cache
def _kept_nodes(mu: float, quality: Quality, device: torch.device | None) -> tuple[Pair, Pair]:
    with torch.inference_mode(False):
        return _new_nodes(mu, quality, device)


def _new_nodes(mu: float, quality: Quality, device: torch.device | None) -> tuple[Pair, Pair]:
    """The nodes and weights as tensors on this device, or as NumPy arrays if it is None."""
    count = math.ceil(math.sqrt(quality.depth / mu + 1) / quality.step)
    k = numpy.arange(count) if device is None else torch.arange(count, dtype=torch.float64, device=device)
    xp, u = _space(k), (k + 0.5) * quality.step
    s = Pair(mu * (1 - u * u), 2 * mu * u)
    log = Pair(math.log(mu) + xp.log1p(u * u), 2 * xp.arctan(u))
    return log, (s.exp() * Pair(xp.ones_like(u), u)).by(2 * mu * quality.step / math.pi)


def _rgamma(x: AnyArray, order: int) -> list[AnyArray]:
    """1/Γ(x) and its derivatives to this order, for -5 < x < 5, with full relative accuracy beside its zeros too."""
    # Near the whole number n, with t = x - n, the Taylor series of 1/Γ(1 + t) is exact. The recurrence 1/Γ(t) = t/Γ(t + 1) leads
    # from there to x in steps of one; its factors t - k and t + k keep the zeros at x = 0, -1, -2, ... exact.
    xp, n = _space(x), x.round()
    t = x - n
    taylor = t[..., None] ** _constant(range(len(_RGAMMA)), x) @ _constant(_TAYLOR[: order + 1], x).T
    jet = [taylor[..., m] for m in range(order + 1)]
    lowest, highest = (-4, 5) if is_traced() or 0 in x.shape else (int(n.min()), int(n.max()))

    def choose(mask: AnyArray, new: list[AnyArray], old: list[AnyArray]) -> list[AnyArray]:
        return new if lowest == highest else [xp.where(mask, q, p) for p, q in zip(old, new, strict=True)]

    for k in range(1 - lowest):  # 1/Γ(t - k) = (t - k) / Γ(t - k + 1)
        jet = choose(n <= -k, _jet_times(jet, t - k), jet)
    for k in range(1, highest):  # 1/Γ(t + k + 1) = 1/Γ(t + k) / (t + k)
        jet = choose(n > k, _over(jet, t + k), jet)
    return [c * math.factorial(m) for m, c in enumerate(jet)]


def _jet_times(jet: list[AnyArray], f: AnyArray) -> list[AnyArray]:
    """The Taylor polynomial `jet` in t times f + t, cut off at its own degree."""
    return [jet[0] * f] + [jet[k] * f + jet[k - 1] for k in range(1, len(jet))]


def _over(jet: list[AnyArray], f: AnyArray) -> list[AnyArray]:
    """The Taylor polynomial `jet` in t over f + t, cut off at its own degree."""
    out: list[AnyArray] = []
    for c in jet:
        out.append((c - out[-1]) / f if out else c / f)
    return out


def _power(x: AnyArray, n: int) -> AnyArray:
    """x^n for a small n other than 0. NumPy's own power is ten times slower for x < 0."""
    first = x if n > 0 else 1 / x
    out = first
    for _ in range(abs(n) - 1):
        out = out * first
    return out


def _columns(*values: AnyArray) -> list[AnyArray]:
    return [v[..., None] for v in values]


def _dot(weight: Pair, value: Pair) -> AnyArray:
    """The real part of Σ weight value over the nodes; one row of weights may serve all."""
    if weight.re.ndim == 1:
        return value.re @ weight.re - value.im @ weight.im
    return (weight.re * value.re - weight.im * value.im).sum(-1)


def _rule(
    z: AnyArray, alpha: AnyArray, beta: AnyArray, orders: Sequence[Order], quality: Quality, mu: float, table: Integrands
) -> list[AnyArray]:
    """The rule for the integrands of a table: z^e Σ_terms c X^p J^q times e^s s^{-β} log(s)^j (-log s)^k.

    For each order (i, j, k) in z, α and β the table gives e and the terms (c, p, q).
    """
    # Each integrand is a sum of products of four things that depend on the node alone or on it and one parameter: the weight
    # e^s ds/du, powers of log s (from the derivatives in α and β), powers of X = s^α and powers of J = 1/(X - z). All powers that
    # any order needs are computed once: w[m][p] = weight s^{-β} log(s)^m X^p, and js[q - 1] = J^q.
    log, weight = _nodes(mu, quality, z)
    a, b, x = _columns(alpha, beta, z)
    less = log.by(a).expm1()  # s^α - 1, so that s^α - z keeps its digits where both are about 1
    power, j = less.plus(1.0), less.plus(1 - x).inverse()
    rows = [table[m, n] for m, n, _ in orders]
    p_max, q_max = (max(term[i] for _, terms in rows for term in terms) for i in (1, 2))
    bases = _powers(log, max(n + o for _, n, o in orders), weight * log.by(-b).exp())
    w, js = [_powers(power, p_max, base) for base in bases], _powers(j, q_max - 1, j)
    out = []
    for (e, terms), (_, n, o) in zip(rows, orders, strict=True):
        y = sum(_dot(w[n + o][p], js[q - 1]) * ((-1) ** o * c) for c, p, q in terms)
        out.append(y * _power(z, e) if e else y)
    return out


def _powers(x: Pair, n: int, start: Pair) -> list[Pair]:
    """start, start x, ..., start x^n."""
    out = [start]
    for _ in range(n):
        out.append(out[-1] * x)
    return out


# -- four forms of the integral ------------------------------------------------------------------------------------------


def _near(z: AnyArray, alpha: AnyArray, beta: AnyArray, orders: Sequence[Order], quality: Quality, mu: float) -> AnyArray:
    """The rule applied to E itself."""
    return _stack(_rule(z, alpha, beta, orders, quality, mu, _WHOLE))


def _apart(z: AnyArray, alpha: AnyArray, beta: AnyArray, orders: Sequence[Order], quality: Quality, mu: float) -> AnyArray:
    """1/Γ(β), the first term of the series, plus the rule for the rest: relatively accurate where both are small."""
    rule = _rule(z, alpha, beta, orders, quality, mu, _WHOLE | _FIRST_APART)
    g = _rgamma(beta, max(o for _, _, o in orders))
    return _stack([y + g[o] if m == n == 0 else y for y, (m, n, o) in zip(rule, orders, strict=True)])


def _far_from_zero(z: AnyArray, alpha: AnyArray, beta: AnyArray, orders: Sequence[Order], quality: Quality, mu: float) -> AnyArray:
    """-Σ_{k=1,2} z^{-k}/Γ(β - αk), the first algebraic terms, plus the rule for the rest, which is smaller by z^{-2}."""
    out = _rule(z, alpha, beta, orders, quality, mu, _TAIL_APART)
    for k in (1, 2):
        g = _rgamma(beta - k * alpha, max(n + o for _, n, o in orders))
        terms = [(1, -k, k * (k + 1))[m] * (-k) ** n * g[n + o] * _power(z, -k - m) for m, n, o in orders]
        out = [y - term for y, term in zip(out, terms, strict=True)]
    return _stack(out)


def _neighbour(
    z: AnyArray, alpha: AnyArray, beta: AnyArray, orders: Sequence[Order], quality: Quality, at: tuple[int, int]
) -> AnyArray:
    """E_{α,β} and its derivatives in z, as E_{a,b} for the whole numbers `at` = (a, b) plus the integral of the difference.

    s^{α-β}/(s^α - z) - s^{a-b}/(s^a - z) = (s^{α+a-b} (s^{b-β} - 1) - z s^{a-b} (s^{α-a+b-β} - 1)) / ((s^α - z)(s^a - z))

    Both terms in brackets vanish as (α, β) approaches (a, b), so that the difference is small and relatively accurate.
    """
    log, weight = _nodes(_SCALES[0], quality, z)
    a, b, x = _columns(alpha, beta, z)
    base = weight * log.by(at[0] - at[1]).exp()
    first, second = log.by(a).exp() * log.by(at[1] - b).expm1(), log.by(a - at[0] + at[1] - b).expm1()
    p, q = log.by(a).exp().plus(-x).inverse(), log.by(at[0]).exp().plus(-x).inverse()
    top, product, total = first - second.by(x), p * q, p + q
    part = (
        lambda: top * product,
        lambda: product * (top * total - second),
        lambda: product * ((top * total - second) * total + top * (p * p + q * q) - second * total),
    )
    growth = _space(z).exp(z)
    exact: Callable[[int], AnyArray] = {(1, 1): lambda m: growth, (1, 0): lambda m: (z + m) * growth, (0, 0): lambda m: 0.0}[at]
    return _stack([exact(m) + _dot(base, part[m]()) for m, _, _ in orders])


# -- the poles -----------------------------------------------------------------------------------------------------------


def _pole(
    z: AnyArray, alpha: AnyArray, beta: AnyArray, mu: AnyArray, orders: Sequence[Order], quality: Quality, scaled: bool
) -> AnyArray:
    """R p of the pole at s = z^{1/α} and its derivatives; if `scaled`, divided by exp(z^{1/α}) for z > 0.

    With l = log s = log(z)/α, the logarithm of R p is

        f(l) = s + (1 - β) l - log α + log p,      p = 1/(1 + e),   e = exp(2π (w - 1)/h),   w = √(s/μ)

    so that every derivative is R p times a polynomial in l and in the slopes of f in l, g = f' and h = f''
    (see `_exponential_slopes`). For z < 0 there is a pair of poles, s and its conjugate, whose sum is twice the real part of one.
    """
    # Nothing but the result may overflow. l is limited, so that s is finite; the exponent of R is split in two, of which the first
    # part is at most 600; and powers of 1/α and 1/z, which the derivatives bring, are multiplied in last.
    xp, positive = _space(z), z > 0
    ra, limit = 1 / alpha, xp.where(positive, _SCALED if scaled else _OVERFLOW, _LARGE)
    ell = Pair(_clip_array(xp.log(abs(z)) * ra, high=limit), xp.where(positive, 0.0, math.pi * ra))
    # The angle π/α of the pair is taken from the imaginary axis, where it is exactly 0 at α = 2: then s.re is exactly 0 too.
    turn, r = math.pi * (1 - alpha / 2) * ra, xp.exp(ell.re)
    s = Pair(xp.where(positive, r, -r * xp.sin(turn)), xp.where(positive, 0.0, r * xp.cos(turn)))
    w = ell.by(0.5).exp().by(mu**-0.5)
    y = w.plus(-1.0).by(2 * math.pi / quality.step)
    e = Pair(_clip_array(y.re, -700.0, 40.0), y.im).exp()
    rest = e.plus(1.0).inverse()  # 1 - p
    p, step = e * rest, w.by(math.pi / quality.step)
    growth = ell.by(1 - beta) + (Pair(xp.where(positive, 0.0, s.re), s.im) if scaled else s)
    q = Pair(_clip_array(growth.re, high=600.0), growth.im).exp() * p
    g = s.plus(1 - beta) + rest * step
    slope = _exponential_slopes(alpha, ell, g, lambda: s + (rest * step).by(0.5) - p * rest * step * step)
    size = xp.where(positive, 1.0, 2.0) * xp.exp(_clip_array(growth.re - 600.0, low=0.0))
    out = []
    for order in orders:
        factor, (i, j, _) = slope(order), order
        value = (q.re * factor.re - q.im * factor.im) * size * ra ** (1 + i + j)
        out.append(value * _power(z, -i) if i else value)
    return _stack(out)


def _exponential_slopes(alpha: AnyArray, ell: Pair, g: Pair, h: Callable[[], Pair]) -> Callable[[Order], Pair]:
    """The derivatives of exp f in z, α and β, each over exp(f) z^-i α^-(i+j).

    f    a function of l = log(z)/α, less log α and β l
    g, h its first and second derivative in l
    """
    # ∂l/∂z = 1/(αz) and ∂l/∂α = -l/α, hence the first derivatives of f. Those of second order of exp f are the product of two first
    # ones plus the second derivative of f.
    first = (lambda: g, lambda: (ell * g).by(-1.0).plus(-1.0), lambda: ell.by(-1.0))
    second = {
        (2, 0, 0): lambda: h() - g.by(alpha),
        (1, 1, 0): lambda: (ell * h()).by(-1.0) - g,
        (1, 0, 1): lambda: Pair(-1.0, 0.0),
        (0, 2, 0): lambda: (ell * ell * h() + (ell * g).by(2.0)).plus(1.0),
        (0, 1, 1): lambda: ell,
        (0, 0, 2): lambda: Pair(0.0, 0.0),
    }

    def slope(order: Order) -> Pair:
        which = [first[n] for n, m in enumerate(order) for _ in range(m)]
        if len(which) == 2:
            return which[0]() * which[1]() + second[order]()
        return which[0]() if which else Pair(1.0, 0.0)

    return slope


def _continuation(z: AnyArray, alpha: AnyArray, beta: AnyArray, orders: Sequence[Order]) -> AnyArray:
    """1/(Γ(β)(1-z)), which E is at α = 0, and its derivatives; those in α exist for z < 1 only, and are nan beyond."""
    xp, y = _space(z), 1 / (1 - z)
    part = {
        (0, 0): y, (1, 0): y**2, (2, 0): 2 * y**3,
        (0, 1): z * y**2, (1, 1): (1 + z) * y**3, (0, 2): z * (1 + z) * y**3,
    }  # fmt: skip
    g = _rgamma(beta, max(n + o for _, n, o in orders))
    out = []
    for m, n, o in orders:
        value = xp.where(g[n + o] == 0, 0.0, part[m, n] * g[n + o])
        out.append(xp.where(z < 1, value, math.nan) if n else value)
    return _stack(out)


# -- which form where ----------------------------------------------------------------------------------------------------


def _write_where(out: AnyArray, mask: AnyArray, function: Rule, inputs: Sequence[AnyArray], add: bool = False) -> AnyArray:
    """`out`, (orders, elements), with a function of the chosen elements written (or added) to it.

    Normally the function is computed for the chosen elements only, a block at a time. While tracing, where no shape may depend on
    data, it is computed for all elements, and then selected.
    """
    xp = _space(out)
    if torch.compiler.is_compiling():
        values = function(*inputs)
        return xp.where(mask, out + values if add else values, out)
    chosen = xp.where(mask)[0]
    for start in range(0, len(chosen), _BLOCK):
        index = chosen[start : start + _BLOCK]
        values = function(*(t[index] if t.ndim else t for t in inputs))
        out[:, index] = out[:, index] + values if add else values
    return out


def _elementary(out: AnyArray, z: AnyArray, alpha: AnyArray, beta: AnyArray, orders: Sequence[Order], quality: Quality) -> AnyArray:
    """`out`, in which the derivatives in z near E_{1,1}, E_{1,0} and E_{0,0} are computed from those (see `_neighbour`)."""
    some = [i for i, (_, n, o) in enumerate(orders) if n == o == 0]
    if are_numbers(alpha, beta) and not any(abs(alpha.item() - a) < _NEIGHBOUR > abs(beta.item() - b) for a, b in _ELEMENTARY):
        return out
    for at in _ELEMENTARY if some else ():
        close = (abs(alpha - at[0]) < _NEIGHBOUR) & (abs(beta - at[1]) < _NEIGHBOUR)
        inside = z < -1 if at[0] else (z < 0) | (_growth(z, alpha) < -3)
        rule = functools.partial(_neighbour, orders=[orders[i] for i in some], quality=quality, at=at)
        part = _write_where(out[some], close & inside, rule, (z, alpha, beta))
        rows = dict(zip(some, part, strict=True))
        out = _stack([rows.get(i, y) for i, y in enumerate(out)])
    return out


def are_numbers(*parameters: AnyArray) -> bool:
    """Whether these are single numbers whose values may be looked at, as they may not while tracing."""
    return not is_traced() and all(p.ndim == 0 for p in parameters)


def _growth(z: AnyArray, alpha: AnyArray) -> AnyArray:
    """log |z|^{1/α}, with z and α limited so that it is finite."""
    return _space(z).log(_clip_array(abs(z), 1e-300, _WIDEST)) / _clip_array(alpha, _TINY)


def numpy_derivatives(
    z: AnyArray, alpha: float, beta: float, orders: Sequence[Order], quality: Quality = FINE, scaled: bool = False
) -> AnyArray:
    """These derivatives, (orders, elements), of a flat float64 NumPy array z for one α and one β; nothing is checked."""
    with numpy.errstate(all="ignore"):
        return array_derivatives(z, numpy.float64(alpha), numpy.float64(beta), orders, quality, scaled)


def array_derivatives(
    z: AnyArray, alpha: AnyArray, beta: AnyArray, orders: Sequence[Order], quality: Quality, scaled: bool
) -> AnyArray:
    """These derivatives, (orders, elements), of a flat float64 array or tensor z; α and β have no dimension or that of z."""
    if are_numbers(alpha) and alpha == 0:
        return _continuation(z, alpha, beta, orders)
    # Which poles count: none of small |s|, which the rule has in full; for z < 0 only those of a pair, α > 1. Where a pole is
    # close to the first parabola, the second one is used (`outer`). The form of the integral depends on z and β: `far` out on the
    # negative axis, `small` beside 0, and none where the pole alone is E to all digits (`alone`). Then the neighbours of elementary
    # functions and α = 0 are written over that, the sum is scaled, and the poles are added.
    xp, zero = _space(z), alpha == 0
    z, alpha = _clip_array(z, -_WIDEST, _WIDEST), xp.where(zero, alpha, _clip_array(alpha, _TINY))
    size = _growth(z, alpha)
    pair = (z < 0) & (alpha > 1 + _NEIGHBOUR)  # nearer to 1 the pair has decayed before it reaches the parabola
    pole = (size > -3) & (pair | ((z > 0) & ~zero))
    angle = xp.where(z < 0, math.pi / 2 / _clip_array(alpha, _TINY), 0.0)
    crossing = xp.exp(_clip_array(size, high=100.0) / 2) * xp.cos(angle)  # √μ of the parabola through the pole
    outer = pole & (crossing > 0.8) & (crossing < 1.17)
    far = (z < 0) & (size > math.log(_FAR)) & ~zero
    alone = pole & (z > 0) & (size > math.log(quality.depth + 15))  # the rest is e^-depth of the residue, and smaller
    small = (abs(z) < 1) & (beta < 1)
    out = _stack([xp.where(alone, xp.zeros_like(z), math.nan)] * len(orders))
    for mu, grid in zip(_SCALES, (~outer & ~alone, outer & ~alone), strict=True):
        for mask, function in ((~far & ~small, _near), (~far & small, _apart), (far, _far_from_zero)):
            out = _write_where(
                out, grid & mask, functools.partial(function, orders=orders, quality=quality, mu=mu), (z, alpha, beta)
            )
    out = _elementary(out, z, alpha, beta, orders, quality)
    if not are_numbers(alpha):
        everywhere = z == z  # gives the mask the shape of z, and leaves nan alone
        out = _write_where(out, zero & everywhere, functools.partial(_continuation, orders=orders), (z, alpha, beta))
    if scaled:
        out = out * xp.exp(-scaling_exponent(z, alpha))
    scale = xp.where(outer, xp.full_like(z, _SCALES[1]), _SCALES[0])
    rule = functools.partial(_pole, orders=orders, quality=quality, scaled=scaled)
    return _write_where(out, pole, rule, (z, alpha, beta, scale), add=True)


def scaling_exponent(z: AnyArray, alpha: AnyArray) -> AnyArray:
    """z^{1/α} for z > 0 and α > 0, else 0; cut at e^200, so that the difference of two is finite."""
    xp = _space(z)
    return xp.where((z > 0) & (alpha > 0), xp.exp(_clip_array(_growth(z, alpha), high=_SCALED)), 0.0)
