"""E_{α,β}(z) from tables: as fast as an elementary function, for parameters of one element on the CPU.

The function and its first derivatives are evaluated once at a few hundred points by the contour: Chebyshev points of [0, 1/2],
[1/2, 1], [1, 2], ..., [128, 256] on both sides. Where E grows, z > 1, it is over exp(z^{1/α}), so that the series are smooth.
From these series come the cells of a `Table`, for |z| up to 8, and the values beyond, one by one; the rest (nan, |z| ≥ 256, and
parameters whose series does not converge there) the contour computes as it would without tables.

Tables are kept by the values of α and β, so that they are rebuilt only when a parameter changed.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ...special.contour import FINE, ROUGH, Order, numpy_derivatives
from ...special.function import Real, mittag_leffler_by_contour
from ...tensors import Array, check_input
from ..autograd import apply_way, needed_gradients
from ..cpu.compiler import kernels_run
from ..request import place_of
from .polynomials import chebyshev, chebyshev_points, fit, points
from .precision import DOUBLE, Precision
from .series import ENDS, SCALED, Series
from .tabulated import Kernel, Tabulated, precision_of

__all__ = ["mittag_leffler"]


GROWN = 0.65  # α below which E for z > 0 grows too fast for polynomials alone
_WIDTHS = np.array([4 / m * 2.0**k for k in range(-6, 2) for m in (7, 6, 5, 4)])  # of its cells, over the usual one
_FLOOR = 0.01  # the size of a slope below which its error is counted as that of this size
LEAST = 4096  # elements from which a table is worth its building
_ROUGH = (16, 1e-8, ROUGH)
FINER = {torch.float32: _ROUGH, torch.float64: (24, 4e-14, FINE)}  # points and error of a series
VALUE, SLOPES = ((0, 0, 0),), ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@functools.lru_cache(maxsize=64)
def _table_kernels(alpha: float, beta: float, precision: Precision, slopes: tuple[Order, ...]) -> tuple[Kernel, Kernel | None]:
    """E, and these derivatives of it if there are any, from one pass of the contour."""
    fine, growth = _cells(alpha, beta, precision)
    at_zero, on_cells, series = _evaluated(alpha, beta, (*VALUE, *slopes), fine, growth)
    rows = np.ascontiguousarray(series.reshape(len(series), -1, series.shape[-1]).transpose(0, 2, 1))

    def kernel(k: slice, of: tuple[Order, ...], floor: float) -> Kernel:
        table = fit(on_cells[k], at_zero[k], fine, floor, growth=growth).table()
        return Kernel(table, Series(alpha, beta, of, at_zero[k, 0], rows[k]))

    return kernel(slice(0, 1), VALUE, 0.0), kernel(slice(1, None), slopes, _FLOOR) if slopes else None


def _cells(alpha: float, beta: float, precision: Precision) -> tuple[Precision, Array | None]:
    """The cells for this E, and its growth on them, z^{1/α} made linear on each, as a power of two; None where it is slow.

    They end where E and its slopes have overflowed in float32, if that can be.
    """
    if alpha >= GROWN or precision is DOUBLE:
        return precision, None

    def overflows(z: float) -> bool:
        return z ** (1 / alpha) / math.log(2) + (1 - beta) / alpha * math.log2(z) > 134 + math.log2(alpha)

    usual = precision.widths[0]
    width = next((w for w in usual * _WIDTHS if overflows(precision.cells * w)), usual)
    ends = (np.arange(precision.cells + 1) * width) ** (1 / alpha) / math.log(2)
    return replace(precision, widths=(float(width), usual)), np.stack([ends[:-1], np.diff(ends)], 1)


def _evaluated(
    alpha: float, beta: float, orders: tuple[Order, ...], precision: Precision, growth: Array | None
) -> tuple[Array, Array, Array]:
    """These derivatives of E at 0 and -0, at the points of the table's cells, over 2^S if there is growth, and as series."""
    n, tolerance, quality = FINER[precision.dtype]
    ends = np.array(ENDS)
    size = (ends[:-1, None] + np.diff(ends)[:, None] * chebyshev_points(n)).ravel()
    # Where E grows fast the points on which series stand are too few: there the cells have their own.
    positive = size if growth is None else points(precision)[0].ravel()
    z = np.concatenate([positive, -size, [0.0]])
    values = numpy_derivatives(z, alpha, beta, orders, quality, scaled=True)
    at_zero = values[:, [-1, -1]]
    values_on = np.full((len(orders), 2, len(ENDS) - 1, n), np.nan)
    values_on[:, 1] = values[:, len(positive) : -1].reshape(len(orders), -1, n)
    if growth is not None:  # beside 0 a derivative may be small
        first = np.append(positive[: precision.nodes], 0.0)
        *_, at_zero[:, 0] = fine = numpy_derivatives(first, alpha, beta, orders, FINE, scaled=True).T
        values[:, : precision.nodes] = np.transpose(fine[:-1])
    else:
        near = size < SCALED
        values[:, : len(near)][:, near] *= np.exp(size[near] ** (1 / alpha))
        values_on[:, 0] = values[:, : len(size)].reshape(len(orders), -1, n)
    values_on[:, :, 0] = (values_on[:, :, 0] - at_zero[:, :, None]) / size[:n]
    with np.errstate(all="ignore"):
        series = values_on @ chebyshev(n).T
        slope = series @ _slope_matrix(n) * (ends[:-1] / np.diff(ends))[:, None] + series @ (_slope_matrix(n) * chebyshev_points(n))
        excused = (np.abs(values_on) + np.abs(slope)).min(-1)  # |f| + |z f'|
        good = (np.abs(series[..., -2:]).max(-1) <= tolerance * excused) & np.isfinite(values_on).all(-1)
        series[~good] = np.nan
        on_cells = _cell_values(at_zero[:, 0], series, alpha, precision)
        if growth is not None:
            power = growth[:, :1] + growth[:, 1:] * chebyshev_points(precision.nodes)
            on_cells[:, 0] = values[:, : len(positive)].reshape(len(orders), *power.shape)
            on_cells[:, 0] *= np.exp(positive.reshape(power.shape) ** (1 / alpha) - math.log(2) * power)
    return at_zero, on_cells, series


def _cell_values(first: Array, series: Array, alpha: float, precision: Precision) -> Array:
    """The values at the points of the table's cells, from the series; nan where there are none."""
    z = points(precision)
    found = np.full((len(series), 2, z[0].size), np.nan)
    for sign, width in enumerate(precision.widths):
        for k, (low, high) in enumerate(itertools.pairwise(ENDS)):
            part, basis = _basis(precision.cells, precision.nodes, width, low, high, series.shape[-1])
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
def _basis(cells: int, nodes: int, width: float, low: float, high: float, n: int) -> tuple[slice, Array]:
    """Which points of these cells are in [low, high), and (n, points): the polynomials of a series on it there."""
    z = ((np.arange(cells)[:, None] + chebyshev_points(nodes)) * width).ravel()
    part = slice(*np.searchsorted(z, [low, high]))
    return part, np.polynomial.chebyshev.chebvander(2 * (z[part] - low) / (high - low) - 1, n - 1).T


def mittag_leffler(z: Tensor, alpha: Real, beta: Real = 1.0) -> Tensor:
    if isinstance(z, Tensor) and z.is_floating_point():
        check_input(z)
    if not isinstance(z, Tensor) or z.numel() < LEAST:
        return mittag_leffler_by_contour(z, alpha, beta)
    parameters = [p if isinstance(p, Tensor) else z.new_tensor(float(p), dtype=torch.float64) for p in (alpha, beta)]
    if not (all(p.numel() == 1 for p in parameters) and place_of(z, parameters) == "cpu" and kernels_run(z.dtype)):
        return mittag_leffler_by_contour(z, alpha, beta)
    a, b = (p.item() for p in parameters)
    if not (0 < a <= 2 and 0 <= b <= 3):
        return mittag_leffler_by_contour(z, alpha, beta)
    slopes = tuple(SLOPES[i] for i in needed_gradients(z, parameters))
    way = Tabulated(*_table_kernels(a, b, precision_of(z.dtype), slopes), mittag_leffler_by_contour)
    return apply_way(way, z, parameters)


mittag_leffler.__doc__ = mittag_leffler_by_contour.__doc__
