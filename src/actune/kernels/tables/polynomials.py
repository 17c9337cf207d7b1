"""A smooth function of one variable as a table: a polynomial on each of some cells of |x| and each sign, evaluated by `lookup`.

A table is fitted to float64 values and checks itself: it covers |x| up to the first cell in which the polynomials miss the
values by more than the tolerance, relative to |f| + |x f'|, what rounding the input alone would excuse. What it does not cover
is listed, never guessed.

A function that grows like an exponential for x > 0 is divided by 2^S, S another polynomial on each cell.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...tensors import Array
from .lookup import Lookup, aligned
from .precision import Precision

__all__ = [
    "Polynomials",
    "Table",
    "TableTarget",
    "as_far_as_good",
    "chebyshev",
    "chebyshev_points",
    "fit",
    "growth_at",
    "monomials",
    "points",
    "trials",
]


_ROOT = 0.02  # of the largest |f| + |x f'| in a cell: where it is smaller, f has a double root
_SPARE = 0.5  # of the tolerance: what a polynomial of a lower degree may miss
_FOLDED = 64.0  # the power of two up to which that at the start of a cell is part of its polynomials
_ENDLESS = 130.0  # the power of two from which a table of float32 ends in infinity


@functools.cache
def chebyshev_points(n: int) -> Array:
    """The n Chebyshev points of [0, 1]."""
    return (1 - np.cos((np.arange(n) + 0.5) * np.pi / n)) / 2


@functools.cache
def chebyshev(n: int) -> Array:
    """(n, n): from values at the Chebyshev points to the coefficients of the polynomial through them."""
    k, angle = np.arange(n)[:, None], (np.arange(n) + 0.5) * np.pi / n
    found = 2 / n * np.cos(k * (np.pi - angle))
    found[0] /= 2
    return found


@functools.cache
def _monomials(n: int) -> Array:
    """(n, n): from coefficients of the series on [0, 1] to those of powers of t, exact integers."""
    basis = [np.polynomial.chebyshev.Chebyshev.basis(k, domain=[0, 1]) for k in range(n)]
    return np.stack([np.pad(p.convert(kind=np.polynomial.Polynomial).coef, (0, n - 1 - k)) for k, p in enumerate(basis)], 1).round()


@functools.cache
def _slopes_at_points(n: int) -> Array:
    """(n, n): from values at the Chebyshev points to the slopes of the polynomial through them there."""
    derivative = np.polynomial.chebyshev.chebder(chebyshev(n), scl=2)
    found: Array = np.polynomial.chebyshev.chebvander(2 * chebyshev_points(n) - 1, n - 2) @ derivative
    return found


@dataclass(frozen=True, eq=False)
class Table:
    """Polynomials for one or more outputs; the first is the value, or in a pullback the slope in x, and the others in parameters.

    coefficients   of t^k in a cell, cells of x >= 0 first, as a `Lookup` has them
    covered        (outputs, 2): |x| from which the table says nothing, for x >= 0 and for x < 0
    growth         (powers, 2 * cells): the coefficients of S of all outputs, or None if they are not divided by 2^S
    """

    precision: Precision
    coefficients: Array
    covered: Array
    growth: Array | None = None

    @functools.cached_property
    def _lookup(self) -> Lookup:
        return Lookup(self.precision, self.coefficients, self.limits, self.growth)

    @property
    def limits(self) -> tuple[float, float]:
        """|x| from which some output is missing, for x >= 0 and for x < 0."""
        positive, negative = self.covered.min(0).tolist()
        return positive, negative

    def values(self, x: Tensor, y: Tensor) -> Array:
        """Write the values at a flat tensor to y; returns the indices of what is not covered."""
        return self._looked_up(x, y)[1]

    def pullback(self, x: Tensor, g: Tensor, gx: Tensor) -> tuple[Array, Array]:
        """Write g times the slope to gx; returns the sums of g times each other output (float64), and the indices not covered."""
        return self._looked_up(x, gx, g)

    def _looked_up(self, x: Tensor, *others: Tensor) -> tuple[Array, Array]:
        if not all(t.is_contiguous() and t.dtype == x.dtype and t.shape == x.shape for t in (x, *others)):
            raise ValueError("the kernels read and write memory as it lies: make the tensors flat, contiguous and of one dtype")
        return self._lookup(x, *others)


@dataclass(frozen=True, eq=False)
class Polynomials:
    """The polynomials of a table in float64.

    powers    (outputs, 2, cells, degree + 1): the coefficients of t^k in a cell, x >= 0 first; 0 where they are not good
    covered   (outputs, 2): see `Table`
    growth    (cells, powers): of S for x >= 0, by whose power of two the functions are divided; or None
    """

    precision: Precision
    powers: Array
    covered: Array
    growth: Array | None = None

    def table(self) -> Table:
        """The table in the dtype, the order and the units of a kernel."""
        p, (outputs, _, _, count) = self.precision, self.powers.shape
        kept, growth = self.powers * _unit_powers(p, count), []
        if self.growth is not None:
            # The less S is, the less its rounding costs. At the start of a cell a slope may be infinite where the value is not yet.
            rise = self.growth * _unit_powers(p, self.growth.shape[1])[0]
            rise[:, 0] = np.maximum(rise[:, 0] - _FOLDED, 0.0).astype(p.kind)
            kept[:, 0] *= np.exp2(self.growth[:, 0] - rise[:, 0])[:, None]
            growth = [np.concatenate([rise, np.zeros_like(rise)]).T]  # none for x < 0
        kept = kept.reshape(outputs, 2 * p.cells, count)
        coefficients, *behind = aligned([kept.transpose(0, 2, 1) if p.in_registers else kept, *growth], p.kind)
        return Table(p, coefficients, self.covered, *behind)


@functools.lru_cache(maxsize=256)
def _unit_powers(p: Precision, count: int) -> Array:
    """(2, cells, count): from the powers of t in [0, 1] to those of the t of a kernel."""
    found: Array = p.units[..., None] ** -np.arange(count)
    return found


@dataclass(frozen=True, eq=False)
class TableTarget:
    """What a table shall give.

    values    (outputs, 2, cells, nodes): at `points`
    at_zero   (outputs, 2): at 0 and -0, taken exactly
    floor     (outputs), or one number: errors below this times the tolerance count as none
    slope     (2): that of the first output at 0 and -0, taken exactly too; a function like x² needs it to be accurate near 0
    tried     (outputs, 2, cells, trials): the values at `trials`, for a function that may have corners
    growth    (cells, powers): the coefficients of S, if the values for x >= 0 are those of the function divided by 2^S
    """

    values: Array
    at_zero: Array
    precision: Precision
    floor: Array | float = 0.0
    slope: Array | None = None
    tried: Array | None = None
    growth: Array | None = None


def points(precision: Precision) -> Array:
    """(2, cells, nodes): where `fit` wants the values, x >= 0 first."""
    return _both_signs(precision, chebyshev_points(precision.nodes))


def _both_signs(precision: Precision, t: Array) -> Array:
    """(2, cells, size): x at these t in each cell."""
    edges = precision.edges[:, :, None] * np.array([1, -1])[:, None, None]
    return edges[:, :-1] + np.diff(edges, axis=1) * t


# Where a table is tried: at the start and the end of a cell, where a corner hides from the Chebyshev points, and between these.
_TRIED = np.array([0.0, 0.034, 0.31, 0.5, 0.69, 0.93, 1.0])


def trials(precision: Precision) -> Array:
    """(2, cells, trials): where the values are wanted that `fit` tries the table with; a cell ends one number before the next."""
    x = _both_signs(precision, _TRIED).astype(precision.kind)
    x[..., -1] = np.nextafter(x[..., -1], precision.kind.type(0))
    return x.astype(np.float64)


def fit(target: TableTarget) -> Polynomials:
    """The polynomials for a target, of the lowest degree that does about as well as the highest."""
    with np.errstate(all="ignore"):
        lowest, wanted = _lowest_degree(target)
        best = None
        for degree in range(lowest, target.precision.degree + 1):
            found = as_far_as_good(monomials(target, degree), target)
            reached = found.covered.min(0)
            if best is None or (reached > best.covered.min(0)).any():
                best = found
            if (reached >= wanted).all():
                break
    assert best is not None
    return best


def as_far_as_good(powers: Array, target: TableTarget) -> Polynomials:
    """Polynomials, (outputs, 2, cells, degree + 1), as far as they give what a target asks for."""
    p, growth = target.precision, target.growth
    with np.errstate(all="ignore"):
        good = _fits(powers, chebyshev_points(p.nodes), target.values, target)
        if target.tried is not None:
            edges = p.edges[:, :, None]
            t = (np.abs(trials(p)) - edges[:, :-1]) / np.diff(edges, axis=1)
            good &= _fits(powers, t, target.tried, target)
        good &= (np.abs(powers) < torch.finfo(p.dtype).max).all(-1)
        covered = p.edges[[0, 1], np.where(good.all(-1), p.cells, np.argmin(good, -1))]
        if growth is not None:
            end = np.log2(np.abs(powers[:, 0, -1].sum(-1))) + growth[-1].sum()
            covered[good[:, 0].all(-1) & (end > _ENDLESS), 0] = math.inf
    return Polynomials(p, np.where(good[..., None], powers, 0.0), covered, growth)


def _lowest_degree(target: TableTarget) -> tuple[int, Array]:
    """The degree from which polynomials may do as well as those of the highest, and (2) up to which |x| those may serve."""
    p, values = target.precision, target.values
    t, matrix = chebyshev_points(p.nodes), chebyshev(p.nodes).T
    series = np.abs(values @ matrix)
    allowed = p.tolerance * _excused(values, values @ _slopes_at_points(p.nodes).T, t, target)
    # Beside 0 it is (f - f(0))/t that has a polynomial, of one degree less; there f may be as small as t.
    series[:, :, 0, 1:] = np.abs((values[:, :, 0] - target.at_zero[:, :, None]) / t @ matrix)[..., :-1]
    allowed[:, :, 0] /= t
    allowed = np.where(t > 0.1, allowed, math.inf).min(-1)
    missed = np.cumsum(series[..., ::-1], -1)[..., ::-1][..., p.lowest + 1 : p.degree + 2]  # by degree
    counted = np.logical_and.accumulate((missed[..., -1] <= allowed).all(0), -1)  # (2, cells)
    enough = (missed <= _SPARE * allowed[..., None]) | ~counted[..., None]
    enough = enough.reshape(-1, enough.shape[-1]).all(0)
    return (p.lowest + int(np.argmax(enough)) if enough.any() else p.degree), p.edges[[0, 1], counted.sum(-1)]


def monomials(target: TableTarget, degree: int) -> Array:
    """(outputs, 2, cells, degree + 1): the coefficients of the powers of t, through the values of a target and exact at 0."""
    p, values, at_zero, slope = target.precision, target.values, target.at_zero, target.slope
    t, matrix = chebyshev_points(p.nodes), chebyshev(p.nodes).T
    powers = (values @ matrix)[..., : degree + 1] @ _monomials(degree + 1).T
    rest = (values[:, :, 0] - at_zero[:, :, None]) / t
    powers[:, :, 0, 0] = at_zero
    powers[:, :, 0, 1:] = (rest @ matrix)[..., :degree] @ _monomials(degree).T
    if slope is not None:
        first = slope * np.array(p.widths) * np.array([1, -1])
        powers[0, :, 0, 1] = first
        powers[0, :, 0, 2:] = ((rest[0] - first[:, None]) / t @ matrix)[:, : degree - 1] @ _monomials(degree - 1).T
        higher = powers[:, :, 0, 2:]  # a function like x³ has none of the second order, which rounding would give it
        higher[np.abs(higher) < 1e-13 * np.abs(powers[:, :, 0]).max(-1, keepdims=True)] = 0
    return powers


def _fits(powers: Array, t: Array, values: Array, target: TableTarget) -> Array:
    """(outputs, 2, cells): whether polynomials give these values at t, (points) or (2, cells, points)."""
    p, growth = target.precision, target.growth
    count, eps = powers.shape[-1], torch.finfo(p.dtype).eps
    basis = t[..., None] ** np.arange(count)
    slopes = _at(powers[..., 1:] * np.arange(1, count), basis[..., :-1])
    got, rounding = _at(powers, basis), _at(np.abs(powers), basis)
    error = np.abs(got - values) + eps / 6 * rounding  # as measured
    if growth is not None:  # S is rounded too
        error[:, 0] += eps / 3 * np.abs(values[:, 0]) * growth_at(growth, t)
    allowed = _excused(values, slopes, t, target)
    good = error <= p.tolerance * allowed
    if p.dtype != torch.float64:  # near a double root rounding is larger than what is excused
        good[:, :, 1:] &= allowed[:, :, 1:] >= _ROOT * allowed[:, :, 1:].max(-1, keepdims=True)
    found: Array = good.all(-1)
    return found


def _at(powers: Array, basis: Array) -> Array:
    """(outputs, 2, cells, points): polynomials where the powers of t are these, (points or 2, cells, points; degree + 1)."""
    found: Array = powers @ basis.T if basis.ndim == 2 else np.einsum("oscp,scnp->oscn", powers, basis)
    return found


def growth_at(growth: Array, t: Array) -> Array:
    """(cells, points): polynomials, (cells, powers), at t, (points) or (2, cells, points)."""
    place = t if t.ndim == 1 else t[0]
    found: Array = (place[..., None] ** np.arange(growth.shape[1]) * growth[:, None]).sum(-1)
    return found


def _excused(values: Array, slopes: Array, t: Array, target: TableTarget) -> Array:
    """|f| + |x f'| and the floor, from the values and their slopes in t, all of them divided by 2^S."""
    if target.growth is not None:
        slopes = slopes.copy()
        rise = target.growth[:, 1:] * np.arange(1, target.growth.shape[1])
        slopes[:, 0] += math.log(2) * growth_at(rise, t) * values[:, 0]
    edges = target.precision.edges[0]
    place = (edges[:-1] / np.diff(edges))[:, None] + t  # alike for both signs
    found: Array = np.abs(values) + np.abs(place * slopes) + np.reshape(target.floor, (-1, 1, 1, 1))
    return found
