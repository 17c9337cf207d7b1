"""The cheapest formula of few operators that equals a costly one over float32 numbers of every size, to within a stated error.

A known function times a number, if there is one; else f(x) = x |t|^(q - 1) (c + |x|)^(p - 1) k(t) with t = x/(c + |x|), which maps
the whole line into [-1, 1]. There p is how f grows, on each side, and q how it begins at 0; so k is bounded, has limits at both
ends, and is a chain of polynomials. Where f has another power p' up to a corner b, as a function that is cut off at x = 100 has, a
factor (c + min(|x|, b))^(p' - p) is split off, too. A chain is a sum, in which each link has its variable cut off at its own ends:

    k(t) = k(-1) + sum_i (P_i(clip(t, a_i, b_i)) - P_i(a_i))

Vector units and runtimes are fast at that, and slow at choosing coefficients by conditions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..catalogue.registry import FAMILIES
from ..kernels.operators import evaluate
from ..language import functions as op
from ..language.expr import Expr, apply, const, symbol
from ..language.ops import OPS
from ..tensors import Array

__all__ = ["FittedFormula", "fitted_formula"]

_SCALES = (1.0, 2.0, 4.0)  # the c that are tried
_DEGREES = (12, 9, 7)  # in falling order: where one takes too many intervals, the next takes more
_LINKS = 24  # at most, on each side of 0
_BISECTIONS = 14
_NARROW = 1 / 64  # of intervals
_SHARE = 0.4  # of the tolerance that polynomials may use; the rest is for rounding
_FAR = (1e10, 1e20)  # where growth is measured
_NEAR = (1e-20, 1e-15)  # where the beginning at 0 is
_MIDDLE = (10.0, 1e4)  # |x| of corners between the part around 0 and what is far
_LEVEL = 1e30  # |x| beyond which some functions are declared to stay as they are
_X = symbol("x")

_Function = Callable[[Array], Array]


@dataclass(frozen=True)
class FittedFormula:
    """A formula in place of a costly one.

    e      the formula of x
    error  the largest error over max(1, |value|) that it has as float32 computes it, over numbers of every size
    form   what it is: "0.9 mish(x)", "polynomials of degree 8 on 4 intervals"
    """

    e: Expr
    error: float
    form: str


@functools.lru_cache(maxsize=256)
def fitted_formula(e: Expr, tolerance: float) -> FittedFormula:
    """The cheapest form found of a formula of x alone, with an error below the tolerance; ValueError if there is none."""
    f = _function_of(e)
    least = math.inf
    for candidate, form in sorted(_candidates(e, f, tolerance), key=lambda pair: len(pair[0].nodes())):
        error = _error(candidate, f)
        least = min(least, error)
        if error <= tolerance:
            return FittedFormula(candidate, error, form)
    reached = f"the nearest form has {least:.1e}" if least < math.inf else "it bends too often or grows too fast"
    raise ValueError(f"no formula of few operators has an error below tolerance={tolerance:g} here ({reached}); allow a larger one")


def _candidates(e: Expr, f: _Function, tolerance: float) -> Iterator[tuple[Expr, str]]:
    known = _known(f)
    if known is not None:
        yield known, f"{known}"
        return
    for scale in _SCALES:
        shape = _shape(f, scale, (_bends(e, -1), _bends(e, 1)))
        factor = _function_of(shape.factor())
        for degree in _DEGREES:
            chains = [_Target(f, factor, scale, side, _SHARE * tolerance, _bends(e, side)).chain(degree) for side in shape.sides]
            found = [chain for chain in chains if chain is not None]
            if len(found) < len(chains):
                break
            for fine in (False, True):
                yield _written(shape, found, fine), f"polynomials to degree {degree} on {sum(map(len, found))} intervals"


def _bends(e: Expr, side: int) -> tuple[float, ...]:
    """The |x| on one side of 0 at which a formula may have a corner, because it compares x with them."""
    ops = {"max", "min", "clip", *(name for name, found in OPS.items() if found.boolean)}
    numbers = [side * a.args[0] for n in e.nodes() if n.op in ops and _X in n.args for a in n.args if a.op == "const"]
    return tuple(sorted({number for number in numbers if number > 0}))


def _function_of(e: Expr) -> _Function:
    return lambda x: evaluate(e, {"x": torch.from_numpy(x)}).expand(x.shape).numpy()


@functools.cache
def _every_size() -> Array:
    """Numbers of float32 of every size and sign, and more where functions bend, in float64."""
    sizes = torch.arange(0, 2**31 - 2**23, 2**16, dtype=torch.int64).to(torch.int32).view(torch.float32)
    middle = torch.linspace(-40, 40, 40001)
    found: Array = torch.cat([sizes, -sizes, middle]).double().numpy()
    return found


def _error(e: Expr, f: _Function) -> float:
    """The largest error over max(1, |value|) of a formula in float32; values beyond float32 do not count."""
    x = _every_size()
    wanted = f(x)
    got = evaluate(e, {"x": torch.from_numpy(x).float()}).double().numpy()
    held = np.abs(wanted) < torch.finfo(torch.float32).max / 2
    worst = np.abs(got - wanted)[held] / np.maximum(1, np.abs(wanted[held]))
    return math.inf if np.isnan(worst).any() else float(worst.max())


# -- a known function ------------------------------------------------------------------------------------------------------


def _known(f: _Function) -> Expr | None:
    """A multiple of a function of the catalogue that needs no special function."""
    few = np.array([-30.0, -7.3, -2.1, -1.0, -0.4, -1e-3, 1e-3, 0.3, 0.9, 2.2, 6.7, 30.0])
    wanted = f(few)
    for family in FAMILIES.values():
        e = family.at_initial()
        if e.symbols() != ("x",) or any(not n.is_leaf and OPS[n.op].float64 for n in e.expand().nodes()):
            continue
        values = _function_of(e)(few)
        factor = float(wanted @ values / max(values @ values, 1e-300))
        if factor and np.abs(factor * values - wanted).max() <= 1e-12 * max(1.0, np.abs(wanted).max()):
            named = _X if family.name == "identity" else apply(family.name, _X)
            return named if abs(factor - 1) < 1e-13 else const(factor) * named
    return None


# -- the shape of a function -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shape:
    """What is known of a function before it is fitted.

    parity  1 if it is even, -1 if odd, 0 if neither
    start   q: the power of x with which it begins at 0
    growth  p to the left and to the right
    levels  whether it is level beyond |x| = 1e30, to the left and to the right
    turns   (corner, by how much its power is larger before it) to the left and to the right; of an even or odd f to the right
    scale   c
    """

    parity: int
    start: float
    growth: tuple[float, float]
    levels: tuple[bool, bool]
    turns: tuple[tuple[float, float] | None, tuple[float, float] | None]
    scale: float

    @property
    def sides(self) -> tuple[int, ...]:
        """The sides of 0 that have polynomials of their own."""
        return (1,) if self.parity else (-1, 1)

    def factor(self) -> Expr:
        """What leaves k bounded; 1 if f is not 0 at 0 and does not grow."""
        x = op.max(_X, -_LEVEL) if self.levels[0] else _X
        x = op.min(x, _LEVEL) if self.levels[1] else x
        size = op.abs(x)
        base = const(1) if self.start == 0 else size if self.parity == 1 else x
        if self.start not in (0, 1):
            base = base * op.max(size / (self.scale + size), 1e-30) ** (self.start - 1)
        for side, turn in zip((-_X, _X), self.turns, strict=True):
            if turn is not None:
                bend, power = turn
                reached = self.scale + op.min(size if self.parity else op.relu(side), bend)
                largest = self.scale + (bend if power > 0 else 0)
                base = base * (reached * (1 / largest)) ** power  # at most 1: with x^p it could overflow
        left, right = (p - (self.start != 0) for p in self.growth)
        if left == right:
            return _times_power(base, self.scale + size, left)
        return _times_power(_times_power(base, self.scale + op.relu(x), right), self.scale + op.relu(-x), left)


def _times_power(e: Expr, base: Expr, power: float) -> Expr:
    """The product e base^power, in few operators."""
    if power in (0, 1, -1):
        return e if power == 0 else e * base if power == 1 else e / base
    high = float(np.float32(power))
    rest = power - high  # which 1e38 raises to up to 1e-6 too much
    return e * base**high if abs(rest) < 1e-10 else e * base**high * base**rest


def _shape(f: _Function, scale: float, bends: tuple[tuple[float, ...], tuple[float, ...]]) -> _Shape:
    x = np.concatenate([np.linspace(0.01, 12, 97), _FAR])
    right, left = f(x), f(-x)
    size = np.maximum(1e-300, np.abs(right) + np.abs(left))
    parity = next((s for s in (1, -1) if (np.abs(right - s * left) <= 1e-12 * size).all()), 0)
    near = f(np.array(_NEAR)) if right[0] else f(-np.array(_NEAR))
    start = 0.0 if f(np.zeros(1))[0] else _exponent(near, _NEAR)
    ends = f(np.array([-3e38, -_LEVEL, _LEVEL, 3e38]))
    growth = _exponent(left[-2:], _FAR), _exponent(right[-2:], _FAR)
    levels = tuple(bool(p % 1 and a == b) for p, a, b in zip(growth, ends[::2], ends[1::2], strict=True))
    turns = _turn(f, -1, bends[0], growth[0]), _turn(f, 1, bends[1], growth[1])
    return _Shape(parity, start, growth, (levels[0], levels[1]), (None if parity else turns[0], turns[1]), scale)


def _turn(f: _Function, side: int, bends: tuple[float, ...], growth: float) -> tuple[float, float] | None:
    """The corner before which f grows otherwise than far out: k would run through orders of magnitude there, and lose digits."""
    for bend in (b for b in bends if _MIDDLE[0] <= b <= _MIDDLE[1]):
        at = bend / 4, bend / 1.1
        low, high = f(side * np.array(at)).tolist()
        power = math.log(high / low) / math.log(at[1] / at[0]) if low and high / low > 0 else math.inf
        if 0.2 < abs(power - growth) < 3:  # what falls like an exponential has no power
            return bend, round(power - growth, 2)  # about: k has the rest
    return None


def _exponent(values: Array, at: tuple[float, float]) -> float:
    """The power of x between two values; 0 where they fall to nothing, or like a whole power, which polynomials follow."""
    if not (np.isfinite(values).all() and values.all()) or abs(values[1]) < 1e-30 or values[1] / values[0] < 0:
        return 0.0
    power = math.log(values[1] / values[0]) / math.log(at[1] / at[0])
    return max(0.0, float(round(power))) if abs(power - round(power)) < 1e-7 else power


# -- the chain of polynomials ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Link:
    """A polynomial of |t| on [low, high]: the coefficients of the powers of |t| - middle, the lowest first."""

    low: float
    high: float
    coefficients: tuple[float, ...]

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    def at(self, size: Array | float) -> Array:
        """The values at these |t|."""
        found: Array = np.polynomial.polynomial.polyval(np.asarray(size) - self.middle, self.coefficients)
        return found


@dataclass(frozen=True)
class _Target:
    """The function k on one side of 0, as a function of |t| in [0, 1].

    f, factor  k is their quotient
    error      allowed in f, relative to max(1, |f|)
    bends      the |x| at which f may have a corner
    """

    f: _Function
    factor: _Function
    scale: float
    side: int
    error: float
    bends: tuple[float, ...]

    def values(self, size: Array) -> tuple[Array, Array]:
        """k at these |t|, and the error allowed there; the ends stand for what is next to them."""
        with np.errstate(divide="ignore"):
            x = self.side * np.clip(self.scale * size / (1 - size), 1e-9, 1e25)
        f, factor = self.f(x), self.factor(x)
        with np.errstate(all="ignore"):
            return f / factor, self.error * np.maximum(1, np.abs(f)) / np.abs(factor)

    def link(self, low: float, high: float, degrees: Sequence[int]) -> _Link | None:
        """The polynomial of the first of these degrees that is near enough; it goes through the ends and Chebyshev's points."""
        width = (high - low) / 2
        nodes = [np.cos(np.pi * np.arange(d + 1) / d) for d in degrees]
        tried = np.linspace(low, high, 6 * (degrees[-1] + 1))
        k, allowed = self.values(np.clip(np.concatenate([tried, *(low + width * (1 + z) for z in nodes)]), low, high))
        if not np.isfinite(k).all():
            return None
        wanted, *samples = np.split(k, np.cumsum([len(tried), *map(len, nodes)])[:-1])
        for z, sample in zip(nodes, samples, strict=True):
            series = np.polynomial.chebyshev.chebfit(z, sample, len(z) - 1)
            coefficients = np.polynomial.chebyshev.cheb2poly(series)
            link = _Link(low, high, tuple((coefficients / width ** np.arange(len(coefficients))).tolist()))
            if (np.abs(link.at(tried) - wanted) <= allowed[: len(tried)]).all():
                return link
        return None

    def chain(self, degree: int) -> list[_Link] | None:
        """Links from 0 to 1, each as long as it can be and of the least degree; None if that takes too many."""
        found: list[_Link] = []
        low = 0.0
        while low < 1:
            link = self._longest(low, degree)
            if link is None or len(found) == _LINKS:
                return None
            found.append(self.link(low, link.high, range(1, degree + 1)) or link)
            low = link.high
        return found

    def _longest(self, low: float, degree: int) -> _Link | None:
        """The link from `low` whose end a bisection finds; a corner exactly, or the rest would stop the next one."""
        link, reached, missed = self.link(low, 1.0, (degree,)), low, 1.0
        if link is not None:
            return link
        for _ in range(_BISECTIONS):
            middle = (reached + missed) / 2
            tried = self.link(low, middle, (degree,))
            link, reached, missed = (link, reached, middle) if tried is None else (tried, middle, missed)
        for corner in (bend / (self.scale + bend) for bend in self.bends):
            if reached < corner <= missed:
                link = self.link(low, corner, (degree,)) or link
        return link


# -- writing it down -------------------------------------------------------------------------------------------------------


def _written(shape: _Shape, chains: Sequence[list[_Link]], fine: bool) -> Expr:
    """The formula of a shape and a chain for each of its sides.

    fine   links near the ends have the variable 1 - |t|, which keeps the digits of a large x, and sides do not meet in one sum
    """
    size = op.abs(_X)
    whole = shape.scale + size
    starts = [float(chain[0].at(0.0)) for chain in chains]
    jumps = abs(starts[0] - starts[-1]) > 1e-7 * max(map(abs, starts))  # where x^q does not let it be seen
    if shape.parity or jumps or fine:
        rest = shape.scale / whole if fine else None
        sums = [_sum(chain, size / whole, rest, 1, 0.0) for chain in chains]
        parts = [_plus(const(c + start), e) for (e, c), start in zip(sums, starts, strict=True)]
        k = parts[0] if shape.parity else op.where(_X > 0, parts[1], parts[0])
    else:
        sums = [_sum(chain, _X / whole, None, side, -1.0) for side, chain in zip(shape.sides, chains, strict=True)]
        k = functools.reduce(_plus, [e for e, _ in sums], const(sum(c for _, c in sums) + starts[-1]))
    return (k * shape.factor()).simplify()


def _sum(chain: Sequence[_Link], t: Expr, rest: Expr | None, side: int, least: float) -> tuple[Expr | None, float]:
    """(the variable part of a chain, its constant): the links after one another, each without its value at its own start.

    t, rest  side |t|, which is at least `least`; 1 - |t|, or None where it is not used
    """
    total: Expr | None = None
    constant = 0.0
    for link in chain:
        first, *others = link.coefficients
        constant += first - float(link.at(link.low))
        if not any(others):
            continue
        if rest is not None and link.low >= 0.5:
            s, sign = _cut(rest, 1 - link.high if link.high < 1 else None, 1 - link.low, 1 - link.middle), -1
        else:
            low, high = sorted((side * link.low, side * link.high))
            s, sign = _cut(t, low if low > least else None, high if high < 1 else None, side * link.middle), side
        unit = 2.0 ** round(math.log2(link.high - link.low)) if link.high - link.low < _NARROW else 1.0
        s = s if unit == 1 else s * (1 / unit)  # else coefficients could be beyond float32
        # s is sign (|t| - middle) / unit: odd powers change their sign with it.
        *lower, highest = [c * (sign * unit) ** (n + 1) for n, c in enumerate(others)]
        total = _plus(functools.reduce(lambda p, c: s * p + c, reversed(lower), const(highest)) * s, total)
    return total, constant


def _cut(t: Expr, low: float | None, high: float | None, middle: float) -> Expr:
    """The difference clip(t, low, high) - middle; None: t ends there by itself.

    One end is cut by relu: onnxscript 0.7 makes a Clip of max and min, and cannot write two of them of one tensor.
    """
    if low is None or high is None:
        cut = t if low is None and high is None else op.min(t, high) if low is None else op.max(t, low)
        return cut - middle
    return (high - middle) - op.relu(high - op.max(t, low))


def _plus(a: Expr, b: Expr | None) -> Expr:
    return a if b is None else a + b
