"""The loops that evaluate a table: sixteen float32 lanes at a time where the processor has AVX-512, plain loops elsewhere.

A table is a polynomial for each of 16 cells of |x| and each sign. Its coefficients of one power are 32 numbers: two vector
registers, from which one instruction (vpermi2ps) picks the sixteen that sixteen inputs need. So a table costs no memory access
beyond a few cache lines, whatever the function was.

Every loop skips what the table does not cover (|x| beyond its limit, nan) and lists it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from .precision import SINGLE

__all__ = ["CELLS", "DEGREE", "LANES", "WIDE", "apply", "plain_apply", "plain_pullback", "pullback", "series_at", "uncovered"]

LANES = 16
CELLS, DEGREE = SINGLE.cells, SINGLE.degree
_BLOCK, _LOOK = 4096, 128  # elements between two additions in float64, and between two looks at what is not covered
# Of the processor that numba compiles for: another than this one may be set, and then nothing is known of it.
WIDE = not getattr(numba.config, "CPU_NAME", None) and bool(binding.get_host_cpu_features().get("avx512f"))

_FLOAT, _INT, _LONG = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_FLOATS, _INTS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT, LANES)
_FAST = ("contract", "nsz")  # no flag that would let nan or inf be assumed away


def _splat(b: Any, scalar: Any, kind: Any) -> Any:
    first = b.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(_INT, 0))
    return b.shuffle_vector(first, ir.Constant(kind, ir.Undefined), ir.Constant(_INTS, [0] * LANES))


def _ints(value: int) -> Any:
    return ir.Constant(_INTS, [value] * LANES)


def _load(b: Any, base: Any, at: Any) -> Any:
    found = b.load(b.bitcast(b.gep(base, [at]), _FLOATS.as_pointer()))
    found.align = 4
    return found


def _store(b: Any, value: Any, base: Any, at: Any) -> None:
    b.store(value, b.bitcast(b.gep(base, [at]), _FLOATS.as_pointer())).align = 4


def _locate(b: Any, x: Any, scale: Any, limits: Any) -> tuple[Any, Any, Any]:
    """The number of the coefficient (the cell, + 16 for x < 0), the place t in [0, 1) in the cell, and who is not covered."""
    bits = b.bitcast(x, _INTS)
    size = b.and_(bits, _ints(0x7FFFFFFF))
    place = b.fmul(b.bitcast(size, _FLOATS), _splat(b, scale, _FLOATS))
    cell = b.fptosi(place, _INTS)  # beyond the int range any number, which the limit excludes
    t = b.fsub(place, b.sitofp(cell, _FLOATS), flags=_FAST)
    number = b.or_(b.and_(cell, _ints(CELLS - 1)), b.and_(b.lshr(bits, _ints(27)), _ints(CELLS)))
    limit = b.select(b.icmp_signed("<", bits, _ints(0)), _splat(b, limits[1], _INTS), _splat(b, limits[0], _INTS))
    return number, t, b.icmp_signed(">=", size, limit)  # positive floats are ordered as their bits are; nan is above inf


def _horner(b: Any, table: Any, start: Any, number: Any, t: Any) -> Any:
    kind = ir.FunctionType(_FLOATS, [_FLOATS, _INTS, _FLOATS])
    pick = cgutils.get_or_insert_function(b.module, kind, "llvm.x86.avx512.vpermi2var.ps.512")
    total = None
    for power in range(DEGREE, -1, -1):
        halves = (b.add(start, ir.Constant(_LONG, 2 * CELLS * power + half)) for half in (0, CELLS))
        first, second = (_load(b, table, at) for at in halves)
        for half in (first, second):  # no store changes the table: so it stays in the 32 registers throughout a loop
            half.set_metadata("invariant.load", b.module.add_metadata([]))
        c = b.call(pick, [first, number, second])
        total = c if total is None else b.fadd(b.fmul(total, t, flags=_FAST), c, flags=_FAST)
    return total


def _sixteen(finish: Callable[..., None]) -> Any:
    """An instruction on the 16 elements from i on: `finish` stores what becomes of the values. Gives the mask of the uncovered."""

    @intrinsic
    def instruction(typing: Any, x: Any, g: Any, table: Any, start: Any, out: Any, scale: Any, limits: Any, i: Any) -> Any:
        def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
            px, pg, pt, po = (make_array(kind)(context, b, args[n]).data for n, kind in ((0, x), (1, g), (2, table), (4, out)))
            number, t, bad = _locate(b, _load(b, px, args[7]), args[5], [b.extract_value(args[6], k) for k in (0, 1)])
            finish(b, _horner(b, pt, args[3], number, t), pg, po, args[7], bad)
            return b.zext(b.bitcast(bad, ir.IntType(LANES)), _INT)

        return types.int32(x, g, table, start, out, scale, limits, i), generate

    return instruction


def _put(b: Any, y: Any, g: Any, out: Any, i: Any, bad: Any) -> None:
    _store(b, y, out, i)


def _put_product(b: Any, y: Any, g: Any, out: Any, i: Any, bad: Any) -> None:
    _store(b, b.fmul(y, _load(b, g, i), flags=_FAST), out, i)


def _add_product(b: Any, y: Any, g: Any, out: Any, i: Any, bad: Any) -> None:
    part = b.select(bad, ir.Constant(_FLOATS, [0.0] * LANES), b.fmul(y, _load(b, g, i), flags=_FAST))
    start = ir.Constant(_LONG, 0)
    _store(b, b.fadd(_load(b, out, start), part, flags=_FAST), out, start)


_values, _products, _sums = _sixteen(_put), _sixteen(_put_product), _sixteen(_add_product)


def _compiled(f: Callable[..., Any]) -> Any:
    options: Any = {"nogil": True, "error_model": "numpy", "fastmath": set(_FAST)}
    try:
        return numba.njit(cache=True, **options)(f)
    except RuntimeError:  # no folder to keep it in: compiled anew by every process
        return numba.njit(**options)(f)


@_compiled
def _list(masks, low, high, missed, count):  # type: ignore[no-untyped-def]
    """Add what the masks of these elements say to the list and to the count."""
    for i in range(low, high, LANES):
        mask = masks[(i - low) // LANES]
        while mask:
            lowest = mask & -mask
            if count < missed.size:
                missed[count] = i + math.frexp(float(lowest))[1] - 1
            count += 1
            mask ^= lowest
    return count


def _listing(instruction: Any) -> Any:
    """The loop of an instruction over the elements from low to high, with those that the table does not cover added to the list."""

    @_compiled
    def loop(x, g, table, scale, limits, out, low, high, missed, count):  # type: ignore[no-untyped-def]
        masks = np.empty(_LOOK // LANES, np.int32)
        for start in range(low, high, _LOOK):
            end = min(start + _LOOK, high)
            bad = np.int32(0)
            for i in range(start, end, LANES):
                mask = instruction(x, g, table, np.int64(0), out, scale, limits, np.int64(i))
                masks[(i - start) // LANES] = mask
                bad |= mask
            if bad:
                count = _list(masks, start, end, missed, count)
        return count

    return loop


_list_values, _list_products = _listing(_values), _listing(_products)


@_compiled
def apply(x, table, scale, limits, y, missed):  # type: ignore[no-untyped-def]
    """y = the values at x, whose size is a multiple of 16. Gives the number of elements that the table does not cover.

    The first of them are listed in `missed`, as many as it holds.
    """
    return _list_values(x, x, table, scale, limits, y, 0, x.size, missed, 0)


@_compiled
def pullback(x, g, table, scale, limits, gx, missed, sums):  # type: ignore[no-untyped-def]
    """gx = g times the first output, and sums[k] += g times output k + 1, where g of elements not covered counts as 0."""
    count = 0
    lanes = np.zeros(LANES, np.float32)
    for low in range(0, x.size, _BLOCK):
        high = min(low + _BLOCK, x.size)
        count = _list_products(x, g, table, scale, limits, gx, low, high, missed, count)
        for k in range(sums.size):
            lanes[:] = 0
            output = np.int64((k + 1) * 2 * CELLS * (DEGREE + 1))
            for i in range(low, high, LANES):
                _sums(x, g, table, output, lanes, scale, limits, np.int64(i))
            for lane in range(LANES):
                sums[k] += lanes[lane]
    return count


@_compiled
def plain_apply(x, table, scale, reach, y, missed):  # type: ignore[no-untyped-def]
    """The same in a plain loop for a table (1, 2 * cells, 8) of any dtype; any size."""
    count, least, more = 0, min(reach), abs(reach[1] - reach[0])
    for i in range(x.size):
        size = abs(x[i])
        sign = np.int64(np.signbit(x[i]))
        if size < least or (more > 0 and size < reach[sign]):
            place = size * scale
            y[i] = _row(table, 0, place, sign)
        else:
            if count < missed.size:
                missed[count] = i
            count += 1
    return count


@_compiled
def plain_pullback(x, g, table, scale, reach, gx, missed, sums):  # type: ignore[no-untyped-def]
    count, least, more = 0, min(reach), abs(reach[1] - reach[0])
    for i in range(x.size):
        size = abs(x[i])
        sign = np.int64(np.signbit(x[i]))
        if size < least or (more > 0 and size < reach[sign]):
            place = size * scale
            gx[i] = g[i] * _row(table, 0, place, sign)
            for k in range(sums.size):
                sums[k] += g[i] * _row(table, k + 1, place, sign)
        else:
            if count < missed.size:
                missed[count] = i
            count += 1
    return count


@_compiled
def _row(table, output, place, sign):  # type: ignore[no-untyped-def]
    start = np.floor(place)
    t = place - start
    c = table[output, np.int64(start) + (table.shape[1] // 2) * sign]
    return ((((((c[7] * t + c[6]) * t + c[5]) * t + c[4]) * t + c[3]) * t + c[2]) * t + c[1]) * t + c[0]


@_compiled
def uncovered(x, reach, missed):  # type: ignore[no-untyped-def]
    """List what a table does not cover, and count it."""
    count = 0
    for i in range(x.size):
        if not abs(x[i]) < reach[1 if np.signbit(x[i]) else 0]:
            if count < missed.size:
                missed[count] = i
            count += 1
    return count


@_compiled
def series_at(z, first, series, good, scaled, power, out, rest):  # type: ignore[no-untyped-def]
    """out (outputs, size) = Chebyshev series on [0, 1/2], [1/2, 1], [1, 2], ... of |z|, z >= 0 first.

    The first interval has `first` (outputs) plus |z| times a series; from interval `scaled` on, those of z >= 0 count exp(z^power)
    times. Gives the number of elements listed in `rest`: those beyond the last interval, and in one that is not `good`.
    """
    count = 0
    intervals, n = series.shape[2], series.shape[3]
    for i in range(z.size):
        size = abs(z[i])
        sign = 1 if z[i] < 0 else 0
        inside = size < 2.0 ** (intervals - 2)
        k = math.frexp(size)[1] + 1 if inside and size >= 0.5 else 0
        if not (inside and good[sign, k]):
            rest[count] = i
            count += 1
            continue
        width = 0.5 if k == 0 else 2.0 ** (k - 2)
        t = 2 * (size - (0.0 if k == 0 else width)) / width - 1
        factor = math.exp(size**power) if sign == 0 and k >= scaled else 1.0
        for m in range(series.shape[0]):
            c = series[m, sign, k]
            one = two = 0.0
            for j in range(n - 1, 0, -1):  # Clenshaw
                one, two = c[j] + 2 * t * one - two, one
            y = c[0] + t * one - two
            out[m, i] = first[m] + size * y if k == 0 else y * factor
    return count
