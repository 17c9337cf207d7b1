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
from .precision import DOUBLE, PLAIN, SINGLE, Precision
from .series import ENDS, Series
from .tabulated import Kernel, Tabulated, precision_of

__all__ = ["mittag_leffler"]


LEAST = 4096  # elements from which a table is worth its building
_ROUGH = (16, 1e-8, ROUGH)
FINER = {SINGLE: _ROUGH, PLAIN: _ROUGH, DOUBLE: (24, 4e-14, FINE)}  # points and error of a series
VALUE, SLOPES = ((0, 0, 0),), ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@functools.lru_cache(maxsize=64)
def _table_kernels(alpha: float, beta: float, precision: Precision, slopes: tuple[Order, ...]) -> tuple[Kernel, Kernel | None]:
    """E, and these derivatives of it if there are any, from one pass of the contour."""
    orders = (*VALUE, *slopes)
    n, tolerance, quality = FINER[precision]
    ends = np.array(ENDS)
    size = (ends[:-1, None] + np.diff(ends)[:, None] * chebyshev_points(n)).ravel()
    z = np.concatenate([size, -size, [0.0]])
    values = numpy_derivatives(z, alpha, beta, orders, quality, scaled=True)
    near = (z > 0) & (z < 1)
    values[:, near] *= np.exp(z[near] ** (1 / alpha))
    at_zero = values[:, [-1, -1]]
    values_on = values[:, :-1].reshape(len(orders), 2, len(ENDS) - 1, n)
    values_on[:, :, 0] = (values_on[:, :, 0] - at_zero[:, :, None]) / size[:n]
    with np.errstate(all="ignore"):
        series = values_on @ chebyshev(n).T
        slope = series @ _slope_matrix(n) * (ends[:-1] / np.diff(ends))[:, None] + series @ (_slope_matrix(n) * chebyshev_points(n))
        excused = (np.abs(values_on) + np.abs(slope)).min(-1)  # |f| + |z f'|
        good = (np.abs(series[..., -2:]).max(-1) <= tolerance * excused) & np.isfinite(values_on).all(-1)
        series[~good] = np.nan
        table = fit(_cell_values(at_zero[:, 0], series, alpha, precision), at_zero, precision)
    rows = np.ascontiguousarray(series.reshape(len(orders), -1, n).transpose(0, 2, 1))
    parts = ((slice(0, 1), VALUE), (slice(1, None), slopes))[: 1 + bool(slopes)]
    kernels = [Kernel(table.part(k), Series(alpha, beta, of, at_zero[k, 0], rows[k])) for k, of in parts]
    return kernels[0], kernels[1] if slopes else None


def _cell_values(first: Array, series: Array, alpha: float, precision: Precision) -> Array:
    """The values at the points of the table's cells, from the series; nan where there are none."""
    z = points(precision)
    found = np.full((len(series), *z.shape), np.nan)
    for k, (low, high) in enumerate(itertools.pairwise(e for e in ENDS if e <= precision.reach)):
        cells, basis = _basis(precision, low, high, series.shape[-1])
        found[:, :, cells] = (series[:, :, k] @ basis).reshape(found[:, :, cells].shape)
    near, grown = z[0] < ENDS[1], z[0] >= 1
    found[:, :, near] = first[:, None, None] + z[0][near] * found[:, :, near]
    found[:, 0, grown] *= np.exp(z[0][grown] ** (1 / alpha))
    return found


@functools.cache
def _slope_matrix(n: int) -> Array:
    """(n, n): from the coefficients of a series on [0, 1] to derivatives at its points."""
    derivative = np.polynomial.chebyshev.chebder(np.eye(n), scl=2)
    return (np.polynomial.chebyshev.chebvander(2 * chebyshev_points(n) - 1, n - 2) @ derivative).T


@functools.cache
def _basis(precision: Precision, low: float, high: float, n: int) -> tuple[slice, Array]:
    """The cells in [low, high], and (n, cells * points): the polynomials of a series on it at their points."""
    cells = slice(round(low / precision.width), round(high / precision.width))
    z = points(precision)[0, cells].ravel()
    return cells, np.polynomial.chebyshev.chebvander(2 * (z - low) / (high - low) - 1, n - 1).T


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
