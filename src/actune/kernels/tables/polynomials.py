"""A smooth function of one variable as a table: a polynomial on each of some cells of |x| and each sign, evaluated by `lookup`.

A table is fitted to float64 values and checks itself: it covers |x| up to the first cell in which the polynomials miss the
values by more than the tolerance, relative to |f| + |x f'|, what rounding the input alone would excuse. What it does not cover
is listed, never guessed.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...tensors import Array
from .lookup import Lookup
from .precision import DOUBLE, SINGLE, Precision

__all__ = ["Table", "chebyshev", "chebyshev_points", "fit", "points", "trials"]


_ROOT = 0.02  # of the largest |f| + |x f'| in a cell: where it is smaller, f has a double root


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


@dataclass(frozen=True, eq=False)
class Table:
    """Polynomials for one or more outputs; the first is the value, or in a pullback the slope in x, and the others in parameters.

    coefficients   of t^k in a cell, cells of x >= 0 first, as a `Lookup` has them
    covered        (outputs, 2): |x| from which the table says nothing, for x >= 0 and for x < 0
    """

    precision: Precision
    coefficients: Array
    covered: Array

    @functools.cached_property
    def _lookup(self) -> Lookup:
        return Lookup(self.precision, self.coefficients, self.limits)

    @property
    def limits(self) -> tuple[float, float]:
        """|x| from which some output is missing, for x >= 0 and for x < 0."""
        positive, negative = self.covered.min(0).tolist()
        return positive, negative

    def part(self, outputs: slice) -> Table:
        """The table of these outputs."""
        return replace(self, coefficients=_aligned(self.coefficients[outputs]), covered=self.covered[outputs])

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


def points(precision: Precision) -> Array:
    """(2, cells, nodes): where `fit` wants the values, x >= 0 first."""
    size = (np.arange(precision.cells)[:, None] + chebyshev_points(precision.nodes)) * precision.width
    return np.stack([size, -size])


# Where a table is tried: at the start and the end of a cell, where a corner hides from the Chebyshev points, and between these.
_TRIED = np.array([0.0, 0.034, 0.31, 0.5, 0.69, 0.93, 1.0])


def trials(precision: Precision) -> Array:
    """(2, cells, trials): where the values are wanted that `fit` tries the table with; a cell ends one number before the next."""
    kind = precision.kind.type
    size = ((np.arange(precision.cells)[:, None] + _TRIED) * precision.width).astype(kind)
    size[:, -1] = np.nextafter(size[:, -1], kind(0))
    return np.stack([size, -size]).astype(np.float64)


def fit(
    values: Array,
    at_zero: Array,
    precision: Precision,
    floor: Array | float = 0.0,
    slope: Array | None = None,
    tried: Array | None = None,
) -> Table:
    """The table through values (outputs, 2, cells, nodes) at `points`, and (outputs, 2) at 0 and -0, which it takes exactly.

    floor   (outputs): errors below this times the tolerance count as none
    slope   (2): that of the first output at 0 and -0, taken exactly too; a function like x² needs it to be accurate near 0
    tried   (outputs, 2, cells, trials): the values at `trials`, for a function that may have corners
    """
    n, degree = precision.nodes, precision.degree
    t = chebyshev_points(n)
    with np.errstate(all="ignore"):
        powers = _monomial_coefficients(values, at_zero, precision, slope)
        good = _fits(powers, t, values, precision, floor)
        if tried is not None:
            at = np.abs(trials(precision)[0]) / precision.width - np.arange(precision.cells)[:, None]
            good &= _fits(powers, at, tried, precision, floor)
        good &= (np.abs(powers) < torch.finfo(precision.dtype).max).all(-1)
    covered = np.where(good.all(-1), precision.cells, np.argmin(good, -1)) * precision.width
    kept = np.where(good[..., None], powers, 0.0).reshape(len(values), 2 * precision.cells, degree + 1)
    return Table(precision, _aligned((kept.transpose(0, 2, 1) if precision is SINGLE else kept).astype(precision.kind)), covered)


def _monomial_coefficients(values: Array, at_zero: Array, precision: Precision, slope: Array | None) -> Array:
    """(outputs, 2, cells, degree + 1): the coefficients of the powers of t, through the values and exact at 0."""
    n, degree = precision.nodes, precision.degree
    t = chebyshev_points(n)
    powers = (values @ chebyshev(n).T)[..., : degree + 1] @ _monomials(degree + 1).T
    rest = (values[:, :, 0] - at_zero[:, :, None]) / t
    powers[:, :, 0, 0] = at_zero
    powers[:, :, 0, 1:] = (rest @ chebyshev(n).T)[..., :degree] @ _monomials(degree).T
    if slope is not None:
        first = slope * precision.width * np.array([1, -1])
        powers[0, :, 0, 1] = first
        powers[0, :, 0, 2:] = ((rest[0] - first[:, None]) / t @ chebyshev(n).T)[:, : degree - 1] @ _monomials(degree - 1).T
        higher = powers[:, :, 0, 2:]  # a function like x³ has none of the second order, which rounding would give it
        higher[np.abs(higher) < 1e-13 * np.abs(powers[:, :, 0]).max(-1, keepdims=True)] = 0
    return powers


def _fits(powers: Array, t: Array, values: Array, precision: Precision, floor: Array | float) -> Array:
    """(outputs, 2, cells): whether the polynomials give the values at t, (cells or 1, points) in the cells."""
    t = np.broadcast_to(t, (precision.cells, np.shape(t)[-1]))
    basis = t[..., None] ** np.arange(precision.degree + 1)  # (cells, points, powers)
    derivative = np.arange(1, precision.degree + 1) * basis[..., :-1]
    got, rounding = (np.einsum("oscp,cnp->oscn", p, basis) for p in (powers, np.abs(powers)))
    error = np.abs(got - values) + torch.finfo(precision.dtype).eps / 6 * rounding  # as measured
    place = np.arange(precision.cells)[:, None] + t
    excused = np.abs(values) + np.abs(place * np.einsum("oscp,cnp->oscn", powers[..., 1:], derivative))
    allowed = excused + np.asarray(floor).reshape(-1, 1, 1, 1)
    good = error <= precision.tolerance * allowed
    if precision is not DOUBLE:  # near a double root rounding is larger than what is excused
        good[:, :, 1:] &= allowed[:, :, 1:] >= _ROOT * allowed[:, :, 1:].max(-1, keepdims=True)
    found: Array = good.all(-1)
    return found


def _aligned(a: Array) -> Array:
    """A copy that starts at a cache line, so that a register is loaded from one."""
    room = np.empty(a.size + 64 // a.itemsize, a.dtype)
    start = -room.ctypes.data % 64 // a.itemsize
    found = room[start : start + a.size].reshape(a.shape)
    found[...] = a
    return found
