"""E_{α,β}(z) from tables: as fast as an elementary function, for parameters of one element on the CPU.

The function and its first derivatives are evaluated once at a few hundred points by the contour: Chebyshev points of [0, 1/2],
[1/2, 1], [1, 2], ..., [128, 256] on both sides. Where E grows, z > 1, it is over exp(z^{1/α}), so that the series are smooth.
From these series come the cells of a `Table`, for |z| up to 8 or more, and what lies beyond, one by one; the rest (nan,
|z| ≥ 256, and parameters whose series does not converge there) the contour computes as it would without tables.

Tables are kept by the values of α and β, so that they are rebuilt only when a parameter changed.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...special.contour import FINE, ROUGH, Order, numpy_derivatives
from ...special.function import Real, mittag_leffler_by_contour
from ...tensors import Array, check_input
from ..autograd import apply_way, needed_gradients
from ..cpu.compiler import kernels_run
from ..request import place_of
from .patches import Patch, TableSample, make_patch
from .polynomials import TableTarget, chebyshev, chebyshev_points, fit, growth_at, points
from .precision import DOUBLE, Precision
from .series import ENDS, SCALED, Series
from .tabulated import Kernel, Tabulated, precision_of

__all__ = ["mittag_leffler"]


GROWN = 0.75  # α below which E for z > 0 grows too fast for polynomials alone
_WIDTHS = np.array([8 / m * 2.0**k for k in range(-6, 2) for m in range(15, 7, -1)])  # of its cells, over the usual one
_WIDER = ((1.2, 2.0), (GROWN, 1.6))  # α from which E is so smooth that cells may be so much wider, and tables reach further
# Below, α from which there are so many cells in an octave, the first for z < 0 of this width, or of that where β is about α and
# powers of t cancel, and S is of this degree.
_RISING = (
    (0.37, (4, 1 / 5, 2 / 15, 2)),
    (0.22, (4, 1 / 6, 2 / 15, 3)),
    (0.08, (8, 0.4, 0.32, 3)),
    (0.0, (16, 0.5, 0.4, 3)),
)
_ABOUT = 0.1  # the difference of α and β below which that is so
_SLOW = 0.9  # β below which E falls so fast for z < 0 that powers of t cancel there: without octaves cells are not wider
_FLOORS = (0.0, 0.1, 0.5)  # the size of E, its slope in z and those in parameters below which an error is counted as of this size
_BOX = (1 / 16, 1 / 8)  # the width of a patch: in α over the power of two below it, and in β
_DEGREE = 6  # and its own, in both
_FAR = 300.0  # z^{1/α} from which no table is made
_SMALLEST = 0.02  # α and β of a patch: beside 0 they matter as powers do
LEAST = 4096  # elements from which a table is worth its building
_ROUGH = (16, 1e-8, ROUGH)
FINER = {torch.float32: _ROUGH, torch.float64: (24, 4e-14, FINE)}  # points and error of a series
VALUE, SLOPES = ((0, 0, 0),), ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@functools.lru_cache(maxsize=64)
def _table_kernels(alpha: float, beta: float, precision: Precision, slopes: tuple[Order, ...]) -> tuple[Kernel, Kernel | None]:
    """E, and these derivatives of it if there are any: from a patch if some are in a parameter, for that one learns."""
    place, orders = (alpha, beta), (*VALUE, *slopes)
    moving = tuple(n for n in range(2) if SLOPES[n + 1] in slopes)
    found = _patch_around(place, moving, precision, orders) if moving and precision is not DOUBLE else None
    if found is None:
        sample = _sample(place, orders, _cells(alpha, beta, precision))
        tables, numbers = [fit(target) for target in sample.targets], functools.partial(np.asarray, sample.more)
    else:
        patch, cells = found
        moved = tuple(place[n] for n in moving)
        tables, numbers = patch.at(moved, _scale(alpha, cells), _growth(alpha, cells)), functools.partial(patch.more_at, moved)
    parts = ((0, VALUE), (1, slopes))
    kernels = [Kernel(t.table(), Series(alpha, beta, *part, numbers)) for t, part in zip(tables, parts, strict=False)]
    return kernels[0], kernels[1] if slopes else None


def _patch_around(
    place: tuple[float, float], moving: tuple[int, ...], precision: Precision, orders: tuple[Order, ...]
) -> tuple[Patch, Cells] | None:
    """The patch for the box of the grid around these parameters, of which some move, and what its tables are made of."""
    if any(place[n] < _SMALLEST for n in moving):
        return None
    widths = 2.0 ** math.floor(math.log2(place[0])) * _BOX[0], _BOX[1]
    boxes = tuple(round(place[n] / widths[n]) * widths[n] for n in moving)
    fixed = tuple(p for n, p in enumerate(place) if n not in moving)
    return _patch_of(boxes, tuple(widths[n] for n in moving), fixed, moving, precision, orders)


@functools.lru_cache(maxsize=32)
def _patch_of(
    centre: tuple[float, ...],
    widths: tuple[float, ...],
    fixed: tuple[float, ...],
    moving: tuple[int, ...],
    precision: Precision,
    orders: tuple[Order, ...],
) -> tuple[Patch, Cells] | None:
    def whole(place: tuple[float, ...]) -> tuple[float, float]:
        rest, given = iter(fixed), dict(zip(moving, place, strict=True))
        alpha, beta = (given[n] if n in given else next(rest) for n in range(2))
        return alpha, beta

    ends = ((_SMALLEST, 2.0), (_SMALLEST, 3.0))
    low = tuple(max(c - w / 2, ends[n][0]) for c, w, n in zip(centre, widths, moving, strict=True))
    high = tuple(min(c + w / 2, ends[n][1]) for c, w, n in zip(centre, widths, moving, strict=True))
    cells = _cells(*whole(high), precision)
    patch = make_patch(lambda place: _sample(whole(place), orders, cells), low, high, _DEGREE)
    return None if patch is None else (patch, cells)


class Cells(NamedTuple):
    """What the tables of E are made of; for z > 0 they are divided by 2^S with an S of degree `rise`, if that is not 0."""

    precision: Precision
    rise: int


def _cells(alpha: float, beta: float, precision: Precision) -> Cells:
    """The cells for this E: where it grows fast they end where it and its slopes have overflowed in float32, if that can be."""
    if precision is DOUBLE:
        return Cells(precision, 0)
    usual = precision.widths[0]
    if alpha >= GROWN:
        wide = usual * next(width for least, width in _WIDER if alpha >= least)
        return Cells(replace(precision, widths=(wide, wide if beta >= _SLOW else usual)), 0)
    octave, apart, about, rise = next(form for least, form in _RISING if alpha >= least)
    below = about if abs(alpha - beta) < _ABOUT else apart
    shape = replace(precision, octave=octave, widths=(1.0, below)) if precision.in_registers else precision

    def overflows(z: float) -> bool:
        return z ** (1 / alpha) / math.log(2) + (1 - beta) / alpha * math.log2(z) > 134 + math.log2(alpha)

    width = next((w for w in usual * _WIDTHS if overflows(w * shape.edges[0, -1] / shape.widths[0])), usual)
    return Cells(replace(shape, widths=(float(width), shape.widths[1])), rise)


def _growth(alpha: float, cells: Cells) -> Array | None:
    """(cells, powers): z^{1/α} as a power of two, as a polynomial on each cell, exact at its ends; None where E grows slowly."""
    if not cells.rise:
        return None
    z, matrix = _through_ends(cells)
    found: Array = z ** (1 / alpha) @ matrix
    return found


@functools.lru_cache(maxsize=64)
def _through_ends(cells: Cells) -> tuple[Array, Array]:
    """(cells, points): z in each cell, its ends among them; and (points, powers): from logarithms there to the powers of two."""
    t = (1 - np.cos(np.pi * np.arange(cells.rise + 1) / cells.rise)) / 2
    edges = cells.precision.edges[0, :, None]
    return edges[:-1] + np.diff(edges, axis=0) * t, np.linalg.inv(np.vander(t, increasing=True)).T / math.log(2)


def _scale(alpha: float, cells: Cells) -> Array | float:
    """(cells): by what E for z > 0 is divided before it is interpolated in α: exp(z^{1/α}) in the middle, if there is no S."""
    if cells.rise:
        return 1.0
    found: Array = np.exp(np.minimum((cells.precision.edges[0, 1:] - cells.precision.widths[0] / 2) ** (1 / alpha), _FAR))
    return found


def _sample(place: tuple[float, float], orders: tuple[Order, ...], cells: Cells) -> TableSample:
    """E and its derivatives of these orders, from one pass of the contour; the other numbers are those of `Series`."""
    (alpha, beta), precision = place, cells.precision
    n, tolerance, quality = FINER[precision.dtype]
    growth = _growth(alpha, cells)
    ends = np.array(ENDS)
    size = (ends[:-1, None] + np.diff(ends)[:, None] * chebyshev_points(n)).ravel()
    # Where E grows fast the points on which series stand are too few: there the cells have their own.
    positive = size if growth is None else points(precision)[0].ravel()
    z = np.concatenate([positive, -size, [0.0]])
    values = numpy_derivatives(z, alpha, beta, orders, quality, scaled=True)
    at_zero = values[:, [-1, -1]]
    values_on = np.full((len(orders), 2, len(ENDS) - 1, n), np.nan)
    values_on[:, 1] = values[:, len(positive) : -1].reshape(len(orders), -1, n)
    if growth is None:
        near = size < SCALED
        values[:, : len(near)][:, near] *= np.exp(size[near] ** (1 / alpha))
        values_on[:, 0] = values[:, : len(size)].reshape(len(orders), -1, n)
    else:  # beside 0 a derivative may be small
        first = np.append(positive[: precision.nodes], 0.0)
        fine = numpy_derivatives(first, alpha, beta, orders, FINE, scaled=True)
        values[:, : precision.nodes], at_zero[:, 0] = fine[:, :-1], fine[:, -1]
    values_on[:, :, 0] = (values_on[:, :, 0] - at_zero[:, :, None]) / size[:n]
    with np.errstate(all="ignore"):
        series = values_on @ chebyshev(n).T
        slope = series @ _slope_matrix(n) * (ends[:-1] / np.diff(ends))[:, None] + series @ (_slope_matrix(n) * chebyshev_points(n))
        excused = (np.abs(values_on) + np.abs(slope)).min(-1)  # |f| + |z f'|
        good = (np.abs(series[..., -2:]).max(-1) <= tolerance * excused) & np.isfinite(values_on).all(-1)
        series[~good] = np.nan
        on_cells = _cell_values(at_zero[:, 0], series, alpha, precision)
        if growth is not None:
            power = growth_at(growth, chebyshev_points(precision.nodes))
            on_cells[:, 0] = values[:, : len(positive)].reshape(len(orders), *power.shape)
            on_cells[:, 0] *= np.exp(positive.reshape(power.shape) ** (1 / alpha) - math.log(2) * power)
    floor = np.array([_FLOORS[min(k, 2)] for k in range(len(orders))])
    parts = (slice(0, 1), slice(1, None))[: min(2, len(orders))]
    targets = tuple(TableTarget(on_cells[k], at_zero[k], precision, floor[k], growth=growth) for k in parts)
    # Behind each series the value at 0.
    more = np.concatenate([series, np.broadcast_to(at_zero[:, :1, None, None], (*series.shape[:-1], 1))], -1)
    return TableSample(targets, more.reshape(-1, n + 1), _scale(alpha, cells))


def _cell_values(first: Array, series: Array, alpha: float, precision: Precision) -> Array:
    """The values at the points of the table's cells, from the series; nan where there are none."""
    z = points(precision)
    found = np.full((len(series), 2, z[0].size), np.nan)
    for sign in range(2):
        for k, (low, high) in enumerate(itertools.pairwise(ENDS)):
            part, basis = _basis(precision, sign, low, high, series.shape[-1])
            found[:, sign, part] = series[:, sign, k] @ basis
    found = found.reshape(len(series), *z.shape)
    near, grown = np.abs(z) < ENDS[1], z[0] >= SCALED
    found[:, near] = first[:, None] + np.abs(z[near]) * found[:, near]
    found[:, 0, grown] *= np.exp(z[0][grown] ** (1 / alpha))
    return found


@functools.cache
def _slope_matrix(n: int) -> Array:
    """(n, n): from the coefficients of a series on [0, 1] to derivatives at its points."""
    derivative = np.polynomial.chebyshev.chebder(np.eye(n), scl=2)
    return (np.polynomial.chebyshev.chebvander(2 * chebyshev_points(n) - 1, n - 2) @ derivative).T


@functools.lru_cache(maxsize=256)
def _basis(precision: Precision, sign: int, low: float, high: float, n: int) -> tuple[slice, Array]:
    """Which points of the cells of a sign are in [low, high), and (n, points): the polynomials of a series on it there."""
    z = np.abs(points(precision)[sign]).ravel()
    part = slice(*np.searchsorted(z, [low, high]))
    return part, np.polynomial.chebyshev.chebvander(2 * (z[part] - low) / (high - low) - 1, n - 1).T


def mittag_leffler(z: Tensor, alpha: Real, beta: Real = 1.0) -> Tensor:
    if isinstance(z, Tensor) and z.is_floating_point():
        check_input(z)
    if not isinstance(z, Tensor) or z.numel() < LEAST:
        return mittag_leffler_by_contour(z, alpha, beta)
    tensors = [p for p in (alpha, beta) if isinstance(p, Tensor)]
    if not (all(p.numel() == 1 for p in tensors) and place_of(z, tensors) == "cpu" and kernels_run(z.dtype)):
        return mittag_leffler_by_contour(z, alpha, beta)
    a, b = (p.item() if isinstance(p, Tensor) else float(p) for p in (alpha, beta))
    if not (0 < a <= 2 and 0 <= b <= 3):
        return mittag_leffler_by_contour(z, alpha, beta)
    if not needed_gradients(z, tensors):
        return Tabulated(*_table_kernels(a, b, precision_of(z.dtype), ()), mittag_leffler_by_contour).values(z, ())
    parameters = [p if isinstance(p, Tensor) else z.new_tensor(float(p), dtype=torch.float64) for p in (alpha, beta)]
    slopes = tuple(SLOPES[i] for i in needed_gradients(z, parameters))
    way = Tabulated(*_table_kernels(a, b, precision_of(z.dtype), slopes), mittag_leffler_by_contour)
    return apply_way(way, z, parameters)


mittag_leffler.__doc__ = mittag_leffler_by_contour.__doc__
