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
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

__all__ = ["mittag_leffler", "mittag_leffler_derivative", "mittag_leffler_scaled"]

Order: TypeAlias = tuple[int, int, int]
Real: TypeAlias = "Tensor | float"
Rule: TypeAlias = Callable[..., list[Tensor]]

_SCALES = (1.0, 2.0)  # μ, where a parabola crosses the positive axis: rounding errors grow like e^μ
_STEP = 2 * math.pi / 75  # the rule's own error is e^{-75}, times 75^{2b} for an integrand like s^{-b}
_DEPTH = 60.0  # the parabola ends where e^s = e^{-60}
_FAR = 6.0  # |z|^{1/α} from which z < 0 takes the algebraic terms apart
_NEIGHBOUR = 0.02  # distance in α and β within which an elementary neighbour is subtracted
_OVERFLOW = math.log(1e5)  # log s from which exp(s) and all its derivatives are infinite
_SCALED = 200.0  # the largest log s of the scaled form, and
_LARGE = 340.0  # of a pole pair: its square is finite
_TINY, _WIDEST = 1e-100, 1e100  # a smaller α > 0 counts as this, and a larger |z|: powers stay finite
_BLOCK = 512  # elements a pass, so that the (elements, nodes) arrays stay in the cache

# 1/Γ(1 + t) = Σ c_k t^k  (Abramowitz and Stegun 6.1.34)
_RGAMMA = (
    1.0, 0.5772156649015329, -0.6558780715202539, -0.04200263503409524, 0.16653861138229148,
    -0.04219773455554433, -0.009621971527876973, 0.0072189432466631, -0.0011651675918590652, -0.00021524167411495098,
    0.0001280502823881162, -2.013485478078824e-05, -1.2504934821426706e-06, 1.133027231981696e-06, -2.056338416977607e-07,
    6.116095104481416e-09, 5.002007644469223e-09, -1.18127457048702e-09, 1.0434267116911005e-10, 7.782263439905071e-12,
    -3.696805618642206e-12, 5.100370287454476e-13,
)  # fmt: skip

# The integrands over e^s s^{-β} (the logarithms apart), by the order in z and α: a power of z, and a sum of c X^p J^q with
# X = s^α, J = 1/(X - z). E itself is XJ. Each is the derivative of its first row by ∂X/∂α = X log s.
Table: TypeAlias = dict[tuple[int, int], tuple[int, tuple[tuple[int, int, int], ...]]]
_WHOLE: Table = {
    (0, 0): (0, ((1, 1, 1),)),
    (1, 0): (0, ((1, 1, 2),)),
    (2, 0): (0, ((2, 1, 3),)),
    (0, 1): (1, ((-1, 1, 2),)),
    (1, 1): (0, ((1, 1, 2), (-2, 2, 3))),
    (0, 2): (1, ((-1, 1, 2), (2, 2, 3))),
}
_FIRST_APART: Table = {(0, 0): (1, ((1, 0, 1),))}  # XJ - 1
_TAIL_APART: Table = {  # XJ + X/z + X²/z²
    (0, 0): (-2, ((1, 3, 1),)),
    (1, 0): (-3, ((-3, 3, 1), (1, 4, 2))),
    (2, 0): (-4, ((12, 3, 1), (-8, 4, 2), (2, 5, 3))),
    (0, 1): (-2, ((3, 3, 1), (-1, 4, 2))),
    (1, 1): (-3, ((-9, 3, 1), (7, 4, 2), (-2, 5, 3))),
    (0, 2): (-2, ((9, 3, 1), (-7, 4, 2), (2, 5, 3))),
}


@dataclass(frozen=True, slots=True)
class Pair:
    """A complex number in real arithmetic, which every device and export has. (`by`, `plus`: Dynamo takes no Pair * Tensor.)"""

    re: Any
    im: Any

    def __mul__(self, other: Pair) -> Pair:
        return Pair(self.re * other.re - self.im * other.im, self.re * other.im + self.im * other.re)

    def __add__(self, other: Pair) -> Pair:
        return Pair(self.re + other.re, self.im + other.im)

    def __sub__(self, other: Pair) -> Pair:
        return Pair(self.re - other.re, self.im - other.im)

    def by(self, real: Real) -> Pair:
        return Pair(self.re * real, self.im * real)

    def plus(self, real: Real) -> Pair:
        return Pair(self.re + real, self.im)

    def inverse(self) -> Pair:
        over = 1 / (self.re * self.re + self.im * self.im)
        return Pair(self.re * over, -self.im * over)

    def exp(self) -> Pair:
        size = self.re.exp()
        return Pair(size * self.im.cos(), size * self.im.sin())

    def expm1(self) -> Pair:
        return Pair(self.re.expm1() * self.im.cos() - 2 * (self.im / 2).sin() ** 2, self.re.exp() * self.im.sin())


def _nodes(mu: float, device: torch.device) -> tuple[Pair, Pair]:
    """log s and the weight e^s ds/du h/(πi) at the nodes u = (k + 1/2)h of the upper half; the lower one mirrors it."""
    count = math.ceil(math.sqrt(_DEPTH / mu + 1) / _STEP)
    u = (torch.arange(count, dtype=torch.float64, device=device) + 0.5) * _STEP
    s = Pair(mu * (1 - u * u), 2 * mu * u)
    log = Pair(math.log(mu) + torch.log1p(u * u), 2 * torch.atan(u))
    return log, (s.exp() * Pair(torch.ones_like(u), u)).by(2 * mu * _STEP / math.pi)


def _rgamma(x: Tensor, order: int) -> Tensor:
    """1/Γ(x), or its first or second derivative, for -5 < x < 5; relatively accurate also beside its zeros."""
    n = x.round()
    t = x - n
    jet = [torch.full_like(t, _RGAMMA[-1])] + [torch.zeros_like(t)] * order  # Taylor coefficients at t
    for c in reversed(_RGAMMA[:-1]):
        jet = _times(jet, t)
        jet[0] = jet[0] + c
    for k in range(5):  # 1/Γ(t - k) = (t - k) / Γ(t - k + 1)
        jet = [torch.where(n <= -k, q, p) for p, q in zip(jet, _times(jet, t - k), strict=True)]
    for k in range(1, 5):  # 1/Γ(t + k + 1) = 1/Γ(t + k) / (t + k)
        jet = [torch.where(n > k, q, p) for p, q in zip(jet, _over(jet, t + k), strict=True)]
    return jet[order] * math.factorial(order)


def _times(jet: list[Tensor], f: Tensor) -> list[Tensor]:
    """A Taylor polynomial in t times one of f's, whose slope is 1."""
    return [jet[0] * f] + [jet[k] * f + jet[k - 1] for k in range(1, len(jet))]


def _over(jet: list[Tensor], f: Tensor) -> list[Tensor]:
    out: list[Tensor] = []
    for c in jet:
        out.append((c - out[-1]) / f if out else c / f)
    return out


def _columns(*values: Tensor) -> list[Tensor]:
    return [v.unsqueeze(-1) for v in values]


def _dot(weight: Pair, value: Pair) -> Tensor:
    """The real part of Σ weight value over the nodes; one row of weights may serve all."""
    if weight.re.shape[0] == 1:
        return value.re @ weight.re[0] - value.im @ weight.im[0]
    return (weight.re * value.re - weight.im * value.im).sum(-1)


def _rule(z: Tensor, alpha: Tensor, beta: Tensor, orders: Sequence[Order], mu: float, table: Table) -> list[Tensor]:
    """The rule for the integrands of a table: z^e Σ_terms c X^p J^q times e^s s^{-β} log(s)^j (-log s)^k."""
    log, weight = _nodes(mu, z.device)
    a, b, x = _columns(alpha, beta, z)
    less = log.by(a).expm1()
    power, j = less.plus(1.0), less.plus(1 - x).inverse()  # s^α - z also where both are about 1
    base = _powers(log, max(n + o for _, n, o in orders), weight * log.by(-b).exp())
    js = _powers(j, max(q for m, n, _ in orders for _, _, q in table[m, n][1]) - 1, j)
    out = []
    for m, n, o in orders:
        e, terms = table[m, n]
        w = _powers(power, max(p for _, p, _ in terms), base[n + o])
        y = torch.stack([_dot(w[p], js[q - 1]) * ((-1) ** o * c) for c, p, q in terms]).sum(0)
        out.append(y * z**e if e else y)
    return out


def _powers(x: Pair, n: int, start: Pair) -> list[Pair]:
    """start, start x, ..., start x^n."""
    out = [start]
    for _ in range(n):
        out.append(out[-1] * x)
    return out


def _near(z: Tensor, alpha: Tensor, beta: Tensor, orders: Sequence[Order], mu: float) -> list[Tensor]:
    """The rule as it stands."""
    return _rule(z, alpha, beta, orders, mu, _WHOLE)


def _apart(z: Tensor, alpha: Tensor, beta: Tensor, orders: Sequence[Order], mu: float) -> list[Tensor]:
    """1/Γ(β), and the rule for the rest: relatively accurate where both are small."""
    rule = _rule(z, alpha, beta, orders, mu, _WHOLE | _FIRST_APART)
    return [y + _rgamma(beta, o) if m == n == 0 else y for y, (m, n, o) in zip(rule, orders, strict=True)]


def _far(z: Tensor, alpha: Tensor, beta: Tensor, orders: Sequence[Order], mu: float) -> list[Tensor]:
    """-Σ_{k=1,2} z^{-k}/Γ(β - αk), and the rule for the rest, which is smaller by z^{-2}."""
    out = []
    for y, (m, n, o) in zip(_rule(z, alpha, beta, orders, mu, _TAIL_APART), orders, strict=True):
        for k in (1, 2):
            y = y - (1, -k, k * (k + 1))[m] * (-k) ** n * z ** (-k - m) * _rgamma(beta - k * alpha, n + o)
        out.append(y)
    return out


def _neighbour(z: Tensor, alpha: Tensor, beta: Tensor, orders: Sequence[Order], at: tuple[int, int]) -> list[Tensor]:
    """E_{α,β} as E_{a,b} of these integers plus a difference that vanishes with that of the parameters; derivatives in z only.

    s^{α-β}/(s^α - z) - s^{a-b}/(s^a - z) = (s^{α+a-b} (s^{b-β} - 1) - z s^{a-b} (s^{α-a+b-β} - 1)) / ((s^α - z)(s^a - z))
    """
    log, weight = _nodes(_SCALES[0], z.device)
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
    exact: Callable[[int], Tensor] = {
        (1, 1): lambda m: z.exp(), (1, 0): lambda m: (z + m) * z.exp(), (0, 0): lambda m: torch.zeros_like(z),
    }[at]  # fmt: skip
    return [exact(m) + _dot(base, part[m]()) for m, _, _ in orders]


def _pole(z: Tensor, alpha: Tensor, beta: Tensor, mu: Tensor, orders: Sequence[Order], scaled: bool) -> list[Tensor]:
    """R p and its derivatives; scaled: over exp(z^{1/α}) for z > 0.

    All from its logarithm, s + (1-β) l - log α + log p with l = log s, whose slopes in l are g and h; a power of 1/α and of 1/z
    is kept apart, and a part of the exponent, so that nothing but the result overflows.
    """
    positive = z > 0
    ra, limit = 1 / alpha, torch.where(positive, _SCALED if scaled else _OVERFLOW, _LARGE)
    ell = Pair((z.abs().log() * ra).clamp(max=limit), (z < 0).to(z.dtype) * math.pi * ra)
    turn, r = math.pi * (1 - alpha / 2) * ra, ell.re.exp()  # of the pair, from the imaginary axis: exact at α = 2
    s = Pair(torch.where(positive, r, -r * turn.sin()), torch.where(positive, 0.0, r * turn.cos()))
    w = ell.by(0.5).exp().by(mu.rsqrt())
    y = w.plus(-1.0).by(2 * math.pi / _STEP)
    e = Pair(y.re.clamp(-700.0, 40.0), y.im).exp()
    rest = e.plus(1.0).inverse()  # 1 - p
    p, step = e * rest, w.by(math.pi / _STEP)
    growth = ell.by(1 - beta) + (Pair(torch.where(positive, 0.0, s.re), s.im) if scaled else s)
    q = Pair(growth.re.clamp(max=600.0), growth.im).exp() * p
    g, h = s.plus(1 - beta) + rest * step, s + (rest * step).by(0.5) - p * rest * step * step
    size = (1 + (z < 0).to(z.dtype)) * (growth.re - 600.0).clamp(min=0.0).exp()
    first, second = _slopes(alpha, ell, g, h)
    out = []
    for order in orders:
        which = [n for n, m in enumerate(order) for _ in range(m)]
        if which:
            factor = first[which[0]] if len(which) == 1 else first[which[0]] * first[which[1]] + second[order]
        else:
            factor = Pair(1.0, 0.0)
        i, j, _ = order
        out.append((q * factor).re * size * ra ** (1 + i + j) * z**-i)
    return out


def _slopes(alpha: Tensor, ell: Pair, g: Pair, h: Pair) -> tuple[tuple[Pair, ...], dict[Order, Pair]]:
    """First and second derivatives of a function with slopes g, h in l = log(z)/α, less log α and βl; over z^-i α^-(i+j)."""
    first = (g, (ell * g).by(-1.0).plus(-1.0), ell.by(-1.0))
    second = {
        (2, 0, 0): h - g.by(alpha),
        (1, 1, 0): (ell * h).by(-1.0) - g,
        (1, 0, 1): Pair(-1.0, 0.0),
        (0, 2, 0): (ell * ell * h + (ell * g).by(2.0)).plus(1.0),
        (0, 1, 1): ell,
        (0, 0, 2): Pair(0.0, 0.0),
    }
    return first, second


def _continuation(z: Tensor, alpha: Tensor, beta: Tensor, orders: Sequence[Order]) -> list[Tensor]:
    """α = 0: 1/(Γ(β)(1-z)) and its derivatives; those in α exist for z < 1 only, nan beyond."""
    y = 1 / (1 - z)
    part = {
        (0, 0): y, (1, 0): y**2, (2, 0): 2 * y**3,
        (0, 1): z * y**2, (1, 1): (1 + z) * y**3, (0, 2): z * (1 + z) * y**3,
    }  # fmt: skip
    out = []
    for m, n, o in orders:
        g = _rgamma(beta, n + o)
        value = torch.where(g == 0, 0.0, part[m, n] * g)
        out.append(torch.where(z < 1, value, math.nan) if n else value)
    return out


def _write(out: list[Tensor], mask: Tensor, function: Rule, inputs: Sequence[Tensor], add: bool = False) -> list[Tensor]:
    """`out` with a function of the chosen elements written (or added) to it.

    Eager: of these elements only, a block at a time. Traced, where no shape may depend on data: of all, then selected.
    """
    if torch.compiler.is_compiling():
        return [torch.where(mask, y + v if add else v, y) for y, v in zip(out, function(*inputs), strict=True)]
    for index in mask.expand(out[0].shape).nonzero().squeeze(-1).split(_BLOCK):
        if index.numel():
            values = function(*(t if t.numel() == 1 else t[index] for t in inputs))
            for y, value in zip(out, values, strict=True):
                y[index] = y[index] + value if add else value.expand(index.shape)
    return out


def _elementary(out: list[Tensor], z: Tensor, alpha: Tensor, beta: Tensor, orders: Sequence[Order]) -> list[Tensor]:
    """`out` with the derivatives in z replaced beside E_{1,1}, E_{1,0} and E_{0,0}."""
    some = [i for i, (_, n, o) in enumerate(orders) if n == o == 0]
    for at in ((1, 1), (1, 0), (0, 0)) if some else ():
        close = ((alpha - at[0]).abs() < _NEIGHBOUR) & ((beta - at[1]).abs() < _NEIGHBOUR)
        inside = z < -1 if at[0] else (z < 0) | (_growth(z, alpha) < -3)
        rule = functools.partial(_neighbour, orders=[orders[i] for i in some], at=at)
        part = dict(zip(some, _write([out[i] for i in some], close & inside, rule, (z, alpha, beta)), strict=True))
        out = [part.get(i, y) for i, y in enumerate(out)]
    return out


def _growth(z: Tensor, alpha: Tensor) -> Tensor:
    """log |z|^{1/α}, finite."""
    return z.abs().clamp(1e-300, _WIDEST).log() / alpha.clamp(min=_TINY)


def _compute(z: Tensor, alpha: Tensor, beta: Tensor, orders: Sequence[Order], scaled: bool = False) -> list[Tensor]:
    """These derivatives for flat float64 tensors, of which α and β may have one element."""
    zero = alpha == 0
    z, alpha = z.clamp(-_WIDEST, _WIDEST), torch.where(zero, alpha, alpha.clamp(min=_TINY))
    size = _growth(z, alpha)
    pair = (z < 0) & (alpha > 1 + _NEIGHBOUR)  # nearer to 1 the pair has decayed before it reaches the parabola
    pole = (size > -3) & (pair | ((z > 0) & ~zero))
    angle = (z < 0).to(z.dtype) * (math.pi / 2) / alpha.clamp(min=_TINY)
    crossing = (size.clamp(max=100.0) / 2).exp() * angle.cos()  # of the axis by the parabola through the pole, √μ
    outer = pole & (crossing > 0.8) & (crossing < 1.17)
    far = (z < 0) & (size > math.log(_FAR)) & ~zero
    small = (z.abs() < 1) & (beta < 1)
    out = [torch.full_like(z, math.nan) for _ in orders]
    for mu, grid in zip(_SCALES, (~outer, outer), strict=True):
        for mask, function in ((~far & ~small, _near), (~far & small, _apart), (far, _far)):
            out = _write(out, grid & mask, functools.partial(function, orders=orders, mu=mu), (z, alpha, beta))
    out = _elementary(out, z, alpha, beta, orders)
    out = _write(out, zero, functools.partial(_continuation, orders=orders), (z, alpha, beta))
    if scaled:
        shrink = (-_exponent(z, alpha)).exp()
        out = [y * shrink for y in out]
    scale = torch.where(outer, torch.full_like(z, _SCALES[1]), _SCALES[0])
    return _write(out, pole, functools.partial(_pole, orders=orders, scaled=scaled), (z, alpha, beta, scale), add=True)


def _exponent(z: Tensor, alpha: Tensor) -> Tensor:
    """z^{1/α} where z > 0 and α > 0, else 0; cut at e^200 so that differences of two stay finite."""
    return torch.where((z > 0) & (alpha > 0), _growth(z, alpha).clamp(max=_SCALED).exp(), 0.0)


def _evaluate(z: Tensor, alpha: Tensor, beta: Tensor, orders: Sequence[Order], scaled: bool) -> tuple[Tensor, ...]:
    """In float64 and rounded once to the dtype of z."""
    _check_range("alpha", alpha, 2.0)
    _check_range("beta", beta, 3.0)
    shape = torch.broadcast_shapes(z.shape, alpha.shape, beta.shape)
    wide = [t.to(torch.float64) for t in (z, alpha, beta)]
    flat = [t.reshape(1) if n and t.numel() == 1 else t.expand(shape).reshape(-1) for n, t in enumerate(wide)]
    return tuple(y.reshape(shape).to(z.dtype) for y in _compute(flat[0], flat[1], flat[2], orders, scaled))


class _MittagLeffler(torch.autograd.Function):
    """Derivatives of the given orders; backward evaluates those of the next order together."""

    @staticmethod
    def forward(z: Tensor, alpha: Tensor, beta: Tensor, orders: tuple[Order, ...], scaled: bool) -> tuple[Tensor, ...]:
        return _evaluate(z, alpha, beta, orders, scaled)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        z, alpha, beta, ctx.orders, ctx.scaled = inputs
        ctx.save_for_backward(z, alpha, beta)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        pairs = [(order, g) for order, g in zip(ctx.orders, grads, strict=True) if g is not None]
        needed = [n for n in range(3) if ctx.needs_input_grad[n]]
        if not pairs or not needed:
            return (None,) * 5
        higher = sorted({_raise(order, n) for order, _ in pairs for n in needed})
        for order in higher:
            _check_order(order)
        values = dict(zip(higher, _MittagLeffler.apply(*ctx.saved_tensors, tuple(higher), ctx.scaled), strict=True))
        out: list[Tensor | None] = [None] * 5
        for n in needed:
            total = torch.stack([g * values[_raise(order, n)] for order, g in pairs]).sum(0)
            out[n] = total.sum_to_size(ctx.saved_tensors[n].shape).to(ctx.saved_tensors[n].dtype)
        return tuple(out)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        dims, tensors = in_dims[:3], inputs[:3]
        rank = max(t.dim() - (d is not None) for t, d in zip(tensors, dims, strict=True))
        first = [t if d is None else t.movedim(d, 0) for t, d in zip(tensors, dims, strict=True)]
        aligned = [
            t if d is None else t.reshape(len(t), *[1] * (rank + 1 - t.dim()), *t.shape[1:])
            for t, d in zip(first, dims, strict=True)
        ]
        return _MittagLeffler.apply(*aligned, *inputs[3:]), (0,) * len(inputs[3])


def _raise(order: Order, n: int) -> Order:
    i, j, k = (m + (n == axis) for axis, m in enumerate(order))
    return i, j, k


def _check_order(order: Sequence[int]) -> None:
    if len(order) != 3 or min(order) < 0 or sum(order) > 2:
        raise ValueError(
            f"derivative order {tuple(order)} of mittag_leffler in (z, alpha, beta): orders are >= 0 and add up to 2 at most; "
            "differentiate the result numerically if you need more"
        )


def _check_range(name: str, value: Tensor, high: float) -> None:
    bad = ~((value >= 0) & (value <= high))
    if not torch.compiler.is_compiling() and bool(bad.any()):
        raise ValueError(
            f"{name} = {value[bad].reshape(-1)[0].item()!r} is outside [0, {high:g}], the range of mittag_leffler; "
            f"choose it inside, or constrain a trained one with {name}.clamp(0, {high:g})"
        )


def _parameter(name: str, value: Real, z: Tensor) -> Tensor:
    """A parameter as a tensor; one element counts as a number."""
    t = value if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64, device=z.device)
    if not t.is_floating_point():
        raise ValueError(f"{name} has dtype {t.dtype}; make it a number or a real floating-point tensor")
    return t.reshape(()) if t.numel() == 1 else t


def _apply(z: Tensor, alpha: Real, beta: Real, order: Order, scaled: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The value, and z and α as they were used."""
    if not isinstance(z, Tensor) or not z.is_floating_point():
        kind = z.dtype if isinstance(z, Tensor) else type(z).__name__
        raise ValueError(f"z is {kind}; mittag_leffler takes a real floating-point tensor, e.g. torch.tensor(0.5)")
    _check_order(order)
    x = z.float() if z.dtype in (torch.float16, torch.bfloat16) else z
    a, b = _parameter("alpha", alpha, z), _parameter("beta", beta, z)
    (y,) = _MittagLeffler.apply(x, a, b, ((order[0], order[1], order[2]),), scaled)
    return y.to(z.dtype), x, a


def mittag_leffler(z: Tensor, alpha: Real, beta: Real = 1.0) -> Tensor:
    """The two-parameter Mittag-Leffler function E_{α,β}(z) = Σ_k z^k / Γ(αk + β), elementwise.

    z       real tensor, any shape and value
    alpha   in [0, 2], and
    beta    in [0, 3]: numbers, tensors of one element, or tensors that broadcast with z (one a channel, say)

    The result has the dtype of z and the broadcast shape. It is differentiable twice in all three arguments. At α = 0 it is the
    continuation 1/(Γ(β)(1-z)), the limit of α → 0 for z < 1 only: there ∂/∂α exists, for z ≥ 1 it is nan. Overflow is inf.
    For 1 < α ≤ 2 and z < 0 the phase |z|^{1/α} of the oscillation is known to a relative rounding error, so that its absolute
    error grows from 1e-13 at |z| = 1e6, α = 2, to 1 where |z|^{1/α} reaches 1e15; the amplitude and the tail stay accurate.
    """
    return _apply(z, alpha, beta, (0, 0, 0), False)[0]


def mittag_leffler_derivative(z: Tensor, alpha: Real, beta: Real, i: int = 0, j: int = 0, k: int = 0) -> Tensor:
    """∂^{i+j+k} E_{α,β}(z) / ∂z^i ∂α^j ∂β^k for i + j + k ≤ 2; differentiable up to that order."""
    return _apply(z, alpha, beta, (i, j, k), False)[0]


def mittag_leffler_scaled(z: Tensor, alpha: Real, beta: Real = 1.0, i: int = 0, j: int = 0, k: int = 0) -> tuple[Tensor, Tensor]:
    """(m, t) with ∂E_{α,β}(z) = m exp(t), t = z^{1/α} for z > 0 and 0 elsewhere: for ratios of values that overflow.

    E1/E2 = m1/m2 exp(t1 - t2). The exponent is a constant to autograd and m is differentiated with t held, which is right for
    every product m exp(t) and for every ratio of two.
    """
    m, x, a = _apply(z, alpha, beta, (i, j, k), True)
    t = _exponent(x.detach().to(torch.float64), a.detach().to(torch.float64))
    return m, t.expand(m.shape).to(m.dtype)
