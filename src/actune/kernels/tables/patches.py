"""Tables of functions whose parameters change at every step: their coefficients interpolated over a patch of the parameters.

To make a table anew takes milliseconds. Its coefficients are smooth functions of the parameters, so over a small box of these they
are polynomials, and a table is the product of a vector with a matrix. Boxes lie on a grid: which one serves, and so every bit of a
result, depends on the parameters alone and not on what was computed before. A patch is tried between its nodes, as a table is
between its own; where it fails there is none, and tables are made one by one.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ...tensors import Array
from .polynomials import Polynomials, TableTarget, as_far_as_good, chebyshev, chebyshev_points, fit, monomials

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
    scale     (cells, nodes): by what the values for x >= 0 are divided before they are interpolated
    """

    targets: tuple[TableTarget, ...]
    more: Array
    scale: Array | float = 1.0

    @property
    def numbers(self) -> Array:
        """All that is interpolated, one after the other."""
        return np.concatenate([self.more.ravel(), *(a.ravel() for t in self.targets for a in _numbers(t, 1 / self.scale))])


def _numbers(target: TableTarget, scale: Array | float) -> tuple[Array, Array, Array]:
    """The values, times the scale where x >= 0, those at zero, and the slope there."""
    return _scaled(target.values, scale), target.at_zero, np.zeros(0) if target.slope is None else target.slope


def _scaled(values: Array, scale: Array | float) -> Array:
    """Values (outputs, 2, cells, nodes) times the scale where x >= 0."""
    found = values.copy()
    found[:, 0] *= scale
    return found


@dataclass(frozen=True, eq=False)
class Patch:
    """The tables of a function over a box of its parameters.

    low, high   (parameters): the corners of the box
    count       of nodes in each direction
    sample      at some place, and
    tables      those there; they reach as far in all of the box
    first       (size): the numbers of the sample at the first node
    moving      the indices of those that differ at other nodes, and
    numbers     (nodes, moving): what they are there
    """

    low: Array
    high: Array
    count: int
    sample: TableSample
    tables: tuple[Polynomials, ...]
    first: Array
    moving: Array
    numbers: Array

    def at(self, place: _Place, scale: Array | float = 1.0) -> tuple[list[Polynomials], Array]:
        """The tables, without their growth, and the other numbers at these parameters, where the scale is this."""
        t = np.clip((np.array(place) - self.low) / (self.high - self.low), 0.0, 1.0)
        each = np.cos(np.arange(self.count) * np.arccos(2 * t - 1)[:, None]) @ chebyshev(self.count)
        found = self.first.copy()
        found[self.moving] = functools.reduce(lambda a, b: np.outer(a, b).ravel(), each) @ self.numbers
        more = found[: self.sample.more.size].reshape(self.sample.more.shape)
        start, tables = more.size, []
        for target, table in zip(self.sample.targets, self.tables, strict=True):
            parts = []
            for like in _numbers(target, 1.0):
                parts.append(found[start : start + like.size].reshape(like.shape))
                start += like.size
            values, at_zero, slope = parts
            values[:, 0] *= scale
            here = replace(target, values=values, at_zero=at_zero, slope=slope if slope.size else None)
            tables.append(replace(table, powers=monomials(here, table.powers.shape[-1] - 1)))
        return tables, more


def make_patch(sample: Callable[[_Place], TableSample], low: _Place, high: _Place, count: int) -> Patch | None:
    """The patch over a box, with so many nodes in each direction; None if it is not as accurate as a table."""
    size, start = np.array(high) - low, np.array(low)
    tried = [tuple((start + size * t).tolist()) for t in np.unique(np.array(_TRIED)[:, : len(low)], axis=0)]
    samples = [sample(place) for place in tried]
    middle = samples[len(samples) // 2]
    fitted = [[fit(target) for target in each] for each in zip(*(s.targets for s in samples), strict=True)]
    tables = tuple(max(each, key=lambda t: t.powers.shape[-1]) for each in fitted)
    nodes = itertools.product(*(start[:, None] + size[:, None] * chebyshev_points(count)))
    rows = np.array([sample(tuple(map(float, node))).numbers for node in nodes])
    moving = np.flatnonzero((rows != rows[0]).any(0))
    patch = Patch(start, np.array(high), count, middle, tables, rows[0], moving, rows[:, moving])
    covered, rough = [np.min([t.covered for t in each], 0) for each in fitted], np.zeros(len(middle.more), bool)
    with np.errstate(invalid="ignore"):
        for place, true in zip(tried, samples, strict=True):
            found, more = patch.at(place, true.scale)
            reached = [as_far_as_good(t.powers, target).covered for t, target in zip(found, true.targets, strict=True)]
            covered = [np.minimum(a, b) for a, b in zip(covered, reached, strict=True)]
            rough |= ~(np.abs(more - true.more).max(-1) <= _MORE * np.abs(true.more).max(-1))
    if any((c.min(0) < _ENOUGH * t.covered.min(0)).any() for c, each in zip(covered, fitted, strict=True) for t in each):
        return None
    # A row of other numbers that is not exact enough is not there.
    lost = np.zeros(rows.shape[1], bool)
    lost[: middle.more.size] = np.repeat(rough, middle.more.shape[-1])
    kept = ~lost[moving]
    return replace(
        patch,
        tables=tuple(replace(t, covered=c) for t, c in zip(tables, covered, strict=True)),
        first=np.where(lost, np.nan, rows[0]),
        moving=moving[kept],
        numbers=rows[:, moving[kept]],
    )
