"""E_{α,β} or its derivatives at single elements as Chebyshev series on intervals of |z|, evaluated by a kernel of strips.

The kernel is compiled once for each number of points; a series is its context. What no series covers is nan.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ...language import elementary
from ...special.contour import Order, numpy_derivatives
from ...tensors import Array
from ..cpu import llvm
from ..cpu.compiler import processor_lanes, strip_assembly
from ..cpu.elements import read_elements
from ..cpu.lanes import Value, constant
from ..cpu.strips import Cut, Strip, link_strip, run_strips

__all__ = ["ENDS", "SCALED", "Series"]


ENDS = (0.0, *(2.0**k for k in range(-1, 9)))  # of the intervals of the series, on each side
SCALED = 1.0  # z from which E is over exp(z^{1/α})


@dataclass(frozen=True, eq=False)
class Series:
    """E or its derivatives at one (α, β) as Chebyshev series on intervals, for single elements.

    start     the first of them among those functions of which there are numbers
    orders    the derivatives
    numbers   gives, when it is called, (functions * 2 * intervals, points + 1), z >= 0 first: the series, nan where it is not
              accurate, and the value at 0, to which the first interval adds |z| times its series: exact where E(0) = 0
    """

    alpha: float
    beta: float
    start: int
    orders: Sequence[Order]
    numbers: Callable[[], Array]

    @functools.cached_property
    def _parts(self) -> tuple[Array, Array]:
        """(outputs): the values at 0; and (outputs, points, 2 * intervals): the series."""
        all_ = self.numbers()
        own = all_.reshape(-1, 2 * (len(ENDS) - 1), all_.shape[-1])[self.start : self.start + len(self.orders)]
        return own[:, 0, -1], np.ascontiguousarray(own[:, :, :-1].transpose(0, 2, 1))

    def __call__(self, z: Array) -> Array:
        """(outputs, size): the values at these elements, by the contour where the series has none."""
        wide, found = z.astype(np.float64), np.empty((len(self.orders), len(z)))
        for first, coefficients, y in zip(*self._parts, found, strict=True):
            strip = replace(_series_kernel(len(coefficients)), context=coefficients.ctypes.data, kept=coefficients)
            numbers = np.array([[first], [1 / self.alpha]])
            run_strips(strip, Cut(1, 1, len(z)), numbers, torch.from_numpy(wide), torch.from_numpy(y))
        rest = np.flatnonzero(np.isnan(found).any(0))
        if len(rest):
            found[:, rest] = numpy_derivatives(wide[rest], self.alpha, self.beta, self.orders)
        return found


@functools.cache
def _series_kernel(points: int) -> Strip:
    return link_strip(llvm.compile_assembly(_series_assembly(points), ("run",)))


def _series_assembly(points: int) -> str:
    """The kernel of one output in LLVM assembly, for elements in float64.

    context   the coefficients, (points, 2 * intervals)
    P         the value at 0, and 1/α
    """
    lanes, intervals = processor_lanes(double=True), len(ENDS) - 1
    z = read_elements(lanes, torch.float64, "x")
    first, power = (Value(lanes.code, lanes.kind, f"%param.{i}") for i in range(2))
    size = lanes.abs(z)
    near, inside = size < ENDS[1], size < ENDS[-1]
    # Each interval but the first begins at a power of two, the exponent of |z|, and is as long as that.
    exponent = lanes.bits(size) >> 52
    low, width = (lanes.where(near, at_first, lanes.from_bits(exponent << 52)) for at_first in (0.0, ENDS[1]))
    zero = constant(lanes.code, exponent.kind, 0)  # also beyond the last: memory ends behind the coefficients
    interval = lanes.where(near | ~inside, zero, exponent - 1021) + lanes.where(z < 0.0, zero + intervals, zero)
    c = [lanes.gather("%context", interval + 2 * intervals * k) for k in range(points)]
    twice = 4.0 * ((size - low) / width) - 2.0  # 2t, for t in [-1, 1]
    one, two = c[-1], lanes.const(0.0)
    for k in range(points - 2, 0, -1):  # Clenshaw
        one, two = lanes.fma(twice, one, c[k] - two), one
    y = lanes.fma(0.5 * twice, one, c[0] - two)
    grown = lanes.where(z >= SCALED, elementary.exp(lanes, elementary.pow(lanes, size, power)), 1.0)
    y = lanes.where(near, lanes.fma(size, y, first), y * grown)
    return strip_assembly(lanes, torch.float64, [lanes.where(inside, y, math.nan)], 2, False, False)
