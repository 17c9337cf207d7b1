"""Tables of functions whose parameters change at every step: their coefficients interpolated over a patch of the parameters.

To make a table anew takes milliseconds. Its coefficients are smooth functions of the parameters, so over a small box of these they
are polynomials, and a table is the product of a vector with a matrix. Boxes lie on a grid: which one serves, and so every bit of a
result, depends on the parameters alone and not on what was computed before. A patch is tried between its nodes, as a table is
between its own; where it fails there is none, and tables are made one by one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...tensors import Array
from .polynomials import Polynomials, TableTarget, as_far_as_good, chebyshev_points, fit, monomials

__all__ = ["Patch", "TableSample", "make_patch"]

_Place = tuple[float, ...]
_TRIED = (
    (0.5, 0.5),
    (0.0, 0.0),
    (1.0, 1.0),
    (0.0, 1.0),
    (1.0, 0.0),
    (0.78, 0.31),
)  # in the box, for one parameter the first halves
_ENOUGH = 0.6  # of what tables by themselves cover: what is left goes element by element
_MORE = 1e-9  # the error of the other numbers, relative to the largest in their row


@dataclass(frozen=True, eq=False)
class TableSample:
    """A function at one place of its parameters.

    targets   what its tables shall give
    more      (rows, numbers): other numbers that go with them, those of a row of one scale
    scale     (cells): by what the polynomials for x >= 0 are divided before they are interpolated, if they have no growth
    """

    targets: tuple[TableTarget, ...]
    more: Array
    scale: Array | float = 1.0


@dataclass(frozen=True, eq=False)
class Patch:
    """The tables of a function over a box of its parameters.

    low, high   the corners of the box
    degree      of the polynomials in the parameters, in all of them together
    tables      those somewhere in the box; they reach as far in all of it
    powers      for each table (terms, size): the series of its coefficients, divided by the scale
    more        (terms, rows, numbers): those of the other numbers; nan in a row that is not exact enough
    """

    low: _Place
    high: _Place
    degree: int
    tables: tuple[Polynomials, ...]
    powers: tuple[Array, ...]
    more: Array

    def at(self, place: _Place, scale: Array | float = 1.0, growth: Array | None = None) -> list[Polynomials]:
        """The tables at these parameters, where the scale and the growth are these."""
        basis, found = self._basis(place), []
        for table, series in zip(self.tables, self.powers, strict=True):
            powers = (basis @ series).reshape(table.powers.shape)
            if growth is None:
                powers[:, 0] *= np.reshape(scale, (-1, 1))
            found.append(Polynomials(table.precision, powers, table.covered, growth))
        return found

    def more_at(self, place: _Place) -> Array:
        """(rows, numbers): the other numbers at these parameters."""
        found: Array = np.tensordot(self._basis(place), self.more, 1)
        return found

    def _basis(self, place: _Place) -> Array:
        t = [min(max((v - a) / (b - a), 0.0), 1.0) for v, a, b in zip(place, self.low, self.high, strict=True)]
        return np.array(_products(t, self.degree))


def _products(t: Sequence[float], degree: int) -> list[float]:
    """The products of Chebyshev polynomials on [0, 1] of this total degree at most; by floats, as arrays take twice as long."""
    each = []
    for v in t:
        values = [1.0, 2 * v - 1]
        while len(values) <= degree:
            values.append(2 * values[1] * values[-1] - values[-2])
        each.append(values)
    if len(each) == 1:
        return each[0]
    first, second = each
    return [a * b for i, a in enumerate(first) for b in second[: degree + 1 - i]]


@functools.cache
def _nodes(parameters: int, degree: int) -> tuple[Array, Array]:
    """(terms, parameters): as many places of the box as a polynomial has terms; and the matrix from values there to its series.

    For two parameters the Padua points: M. Caliari, S. De Marchi, M. Vianello, Appl. Math. Comput. 165 (2005) 261.
    """
    if parameters == 1:
        found = chebyshev_points(degree + 1)[:, None]
    else:
        j, k = np.divmod(np.arange((degree + 1) * (degree + 2)), degree + 2)
        some = (j + k) % 2 == 0
        found = np.stack([1 - np.cos(np.pi * j[some] / degree), 1 - np.cos(np.pi * k[some] / (degree + 1))], 1) / 2
    return found, np.linalg.inv([_products(t, degree) for t in found.tolist()])


def make_patch(sample: Callable[[_Place], TableSample], low: _Place, high: _Place, degree: int) -> Patch | None:
    """The patch over a box, of this degree in one or two parameters; None if it is not as accurate as a table."""
    size, start = np.array(high) - low, np.array(low)
    tried = [tuple((start + size * t).tolist()) for t in np.unique(np.array(_TRIED)[:, : len(low)], axis=0)]
    samples = [sample(place) for place in tried]
    fitted = [[fit(target) for target in each] for each in zip(*(s.targets for s in samples), strict=True)]
    tables = tuple(max(each, key=lambda t: t.powers.shape[-1]) for each in fitted)
    at_nodes, matrix = _nodes(len(low), degree)
    nodes = [sample(tuple((start + size * t).tolist())) for t in at_nodes]
    with np.errstate(invalid="ignore", over="ignore"):
        powers = tuple(
            matrix @ np.array([_powers(node.targets[n], table.powers.shape[-1] - 1, node.scale).ravel() for node in nodes])
            for n, table in enumerate(tables)
        )
        patch = Patch(low, high, degree, tables, powers, np.tensordot(matrix, np.array([n.more for n in nodes]), 1))
        covered, rough = [np.min([t.covered for t in each], 0) for each in fitted], np.zeros(len(samples[0].more), bool)
        for place, true in zip(tried, samples, strict=True):
            found, more = patch.at(place, true.scale), patch.more_at(place)
            reached = [as_far_as_good(t.powers, target).covered for t, target in zip(found, true.targets, strict=True)]
            covered = [np.minimum(a, b) for a, b in zip(covered, reached, strict=True)]
            rough |= ~(np.abs(more - true.more).max(-1) <= _MORE * np.abs(true.more).max(-1))
    if any((c.min(0) < _ENOUGH * t.covered.min(0)).any() for c, each in zip(covered, fitted, strict=True) for t in each):
        return None
    kept = tuple(replace(t, covered=c) for t, c in zip(tables, covered, strict=True))
    powers = tuple(np.where(_used(table), series, 0.0) for series, table in zip(powers, kept, strict=True))
    return replace(patch, tables=kept, powers=powers, more=np.where(rough[:, None], np.nan, patch.more))


def _used(table: Polynomials) -> Array:
    """(size): which coefficients are those of cells that a table covers."""
    cells = table.precision.edges[:, :-1] < table.covered[..., None]
    return np.broadcast_to(cells[..., None], table.powers.shape).ravel()


def _powers(target: TableTarget, degree: int, scale: Array | float) -> Array:
    """The coefficients that a table has of this degree, over the scale where x >= 0."""
    found = monomials(target, degree)
    found[:, 0] /= np.reshape(scale, (-1, 1))
    return found
