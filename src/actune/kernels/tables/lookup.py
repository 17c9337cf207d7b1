"""Tables evaluated by kernels of strips: polynomials whose coefficients are data, so that one kernel serves every table.

A table is a polynomial for each cell of |x| and each sign. Where the processor has AVX-512 the coefficients of one power in float32
are 32 numbers in two registers, from which one instruction picks those that sixteen inputs need (`Lanes.pick_from`). These
instructions are most of the work, so each degree has a kernel of its own. Elsewhere the eight coefficients of a cell are a row in
memory (`Lanes.rows`).

context   three addresses: of the coefficients, of the first element of x, and of a word for each vector of x
P         for x >= 0 and for x < 0: the units per x, and |x| from which nothing is covered; with 2^S also the last x >= 0

Each bit of a word says whether an element of its vector is not covered; what is computed for that one means nothing.

Cells are of one width, or as many are in each octave of a number s = 2 + scale |x|: 16 from 2 to 32, if these are four. Then the
last bits of its exponent and the first of its fraction say which one it is; for x < 0 s is from 32 on.

Functions that grow like an exponential are polynomials times 2^S, where S is a polynomial on each cell: behind the coefficients of
the polynomials come those of S, 2 * cells numbers for each power.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...tensors import Array
from ..cpu import llvm
from ..cpu.compiler import processor_lanes, strip_assembly
from ..cpu.elements import read_elements
from ..cpu.lanes import LANES, Lanes, Value, vector
from ..cpu.strips import Cut, Strip, link_strip, run_strips
from .precision import Precision

__all__ = ["Lookup", "aligned"]

_INFINITE = 240.0  # the power of two that stands for all above it, of float32, where `ldexp` takes no larger ones
# 2^r for r in [0, 1), exact at 0, to 1e-8 (interpolated at Chebyshev points).
_EXP2 = (1, 0.6931471709, 0.2402272042, 0.05549602356, 0.009652195057, 0.001269216606, 0.0002081791507)


@dataclass(frozen=True, eq=False)
class Lookup:
    """The polynomials of a table as memory that a kernel reads.

    coefficients  (outputs, degree + 1, 2 * cells) for registers, (outputs, 2 * cells, degree + 1) for rows; from a cache line on
    limits        |x| from which nothing is covered, for x >= 0 and for x < 0
    growth        (powers, 2 * cells): the coefficients of S in each cell, behind the others in memory; None for polynomials alone
    """

    precision: Precision
    coefficients: Array
    limits: tuple[float, float]
    growth: Array | None = None

    def __call__(self, x: Tensor, y: Tensor, g: Tensor | None = None) -> tuple[Array, Array]:
        """Write the first output at flat x, times g if there is one, to y.

        Returns the sums of g times each other output (float64), and the indices of x that the table does not cover: these add
        nothing to the sums.
        """
        words = torch.empty(-(-x.numel() // LANES), dtype=getattr(torch, f"int{LANES}"), device="cpu")
        address, form, numbers = self._prepared
        context = (ctypes.c_void_p * 3)(address, x.data_ptr(), words.data_ptr())
        kernel = _lookup_kernel(form, x.dtype, g is not None)
        strip = Strip(kernel.run, ctypes.addressof(context), (context, words, self.coefficients))
        sums = run_strips(strip, _flat(x.numel()), numbers, x, y, g, len(self.coefficients) - 1)
        return sums[:, 0], _indices(words.numpy())

    @functools.cached_property
    def _prepared(self) -> tuple[int, LookupForm, Array]:
        """The address, the form and the parameters, worked out once, as a table is looked up many times."""
        p, grown = self.precision, 0 if self.growth is None else len(self.growth)
        degree = self.coefficients.shape[1 if p.in_registers else 2] - 1
        form = LookupForm(p.cells, p.octave, degree, len(self.coefficients), grown)
        # Where a place is rounded, what is next to a limit, and rounded onto it, is not covered either.
        exact = [p.octave is None and math.log2(width).is_integer() for width in p.widths]
        limits = [e if safe else e * (1 - 2**-19) for e, safe in zip(self.limits, exact, strict=True)]
        last = [p.edges[0, -1] * (1 - 2**-19) if self.limits[0] == math.inf else math.inf] if grown else []
        scales = [scale / width for scale, width in zip(p.scales, p.widths, strict=True)]
        return self.coefficients.ctypes.data, form, np.array(scales + limits + last, p.kind)[:, None]


def aligned(arrays: Sequence[Array], kind: np.dtype[Any]) -> list[Array]:
    """Copies in this dtype, one behind the other, from a cache line on, so that a register is loaded from one."""
    room = np.empty(sum(a.size for a in arrays) + 64 // kind.itemsize, kind)
    start, found = -room.ctypes.data % 64 // kind.itemsize, []
    for a in arrays:
        found.append(room[start : start + a.size].reshape(a.shape))
        found[-1][...] = a
        start += a.size
    return found


def _indices(words: Array) -> Array:
    """Where a bit is set, in words of as many bits as a vector has lanes."""
    if not words.any():
        return np.empty(0, np.int64)
    (some,) = (words != 0).nonzero()  # of truth values: in a tenth of the time
    bits = np.flatnonzero(np.unpackbits(words[some].astype(f"<i{LANES // 8}").view(np.uint8), bitorder="little").view(np.bool_))
    found: Array = (some * LANES)[bits // LANES] + bits % LANES
    return found


@functools.lru_cache(maxsize=64)
def _flat(size: int) -> Cut:
    return Cut(1, 1, size)


class LookupForm(NamedTuple):
    """All of a table that its kernels depend on.

    cells, octave, degree   of the polynomials
    outputs                 the number of functions
    grown                   the number of coefficients of S; 0: they are not divided by 2^S
    """

    cells: int
    octave: int | None
    degree: int
    outputs: int
    grown: int


@functools.cache
def _lookup_kernel(form: LookupForm, dtype: torch.dtype, backward: bool) -> Strip:
    return link_strip(llvm.compile_assembly(_lookup_assembly(form, dtype, backward), ("run",)))


def _lookup_assembly(form: LookupForm, dtype: torch.dtype, backward: bool) -> str:
    """The kernel in LLVM assembly for elements of this dtype."""
    lanes = processor_lanes(dtype == torch.float64)
    x = read_elements(lanes, dtype, "x")
    parameters = [Value(lanes.code, lanes.kind, f"%param.{i}") for i in range(5 if form.grown else 4)]
    scale, scale_below, limit, limit_below = parameters[:4]
    if form.grown:  # what is beyond the last cell may be covered: it is infinite, as is the end of that cell
        x = lanes.least(parameters[4], x)
    size, below = lanes.abs(x), lanes.signbit(x)
    covered = size < lanes.where(below, limit_below, limit)
    place = _equal_cells if form.octave is None else _octaves
    index, t = place(lanes, form, x, lanes.where(below, scale_below, scale))
    found = (_polynomial(lanes, form, t, index, output) for output in range(form.outputs))
    if form.grown:
        behind = 2 * form.cells * form.outputs * (form.degree + 1)
        power = _picked_polynomial(lanes, form, t, index, behind, form.grown)
        power = power if lanes.code.wide512 else lanes.least(power, _INFINITE)
        factor = lanes.ldexp(lanes.polynomial(lanes.fraction(power), _EXP2), power)
        found = (y * factor for y in found)
    noted = _noted(Value(lanes.code, "i1", "%alive") & ~covered)
    before = _CONTEXT.format(size=LANES * dtype.itemsize, lanes=LANES)
    return strip_assembly(lanes, dtype, found, len(parameters), False, backward, covered, before, noted, flushed=True)


def _equal_cells(lanes: Lanes, form: LookupForm, x: Value, scale: Value) -> tuple[Value, Value]:
    """The index of the coefficients, those of x < 0 second, and t in [0, 1]; beyond the limit, and of nan, they are anything."""
    size, cells = lanes.abs(x), form.cells
    cell = lanes.to_int(size * scale)
    sign = (lanes.bits(x) >> (lanes.choose(32, 64) - cells.bit_length())) & cells
    inside = cell if lanes.quick(2 * cells) else cell & (cells - 1)  # picking looks at the last bits alone
    return inside | sign, lanes.fma(size, scale, -lanes.from_int(cell))


def _octaves(lanes: Lanes, form: LookupForm, x: Value, scale: Value) -> tuple[Value, Value]:
    """Index and t where cells double, of a table in registers: both are parts of s (see above)."""
    assert form.octave is not None
    size, dropped = lanes.abs(x), lanes.choose(23, 52) - form.octave.bit_length() + 1
    start = lanes.where(lanes.signbit(x), 2.0 ** (1 + form.cells // form.octave), 2.0)
    place = lanes.bits(lanes.fma(size, scale, start))
    return place >> dropped, lanes.fma(size, scale, start - lanes.from_bits(place & -(1 << dropped)))


def _polynomial(lanes: Lanes, form: LookupForm, t: Value, index: Value, output: int) -> Value:
    """An output at t, each lane's by the coefficients with its index."""
    first = 2 * form.cells * output
    if lanes.quick(2 * form.cells):
        return _picked_polynomial(lanes, form, t, index, first * (form.degree + 1), form.degree + 1)
    return lanes.polynomial(t, lanes.rows("%table", index + first))


def _picked_polynomial(lanes: Lanes, form: LookupForm, t: Value, index: Value, start: int, count: int) -> Value:
    """A polynomial of so many coefficients, which stand in the table from this number on, all of a power together.

    Each is picked when it is needed: LLVM keeps about this order, and all at once would not fit into registers.
    """

    def picked(power: int) -> Value:
        at = start + 2 * form.cells * power
        if lanes.quick(2 * form.cells):
            return lanes.pick_from(*lanes.registers("%table", at), index)
        return lanes.gather("%table", index + at)

    return lanes.horner(t, map(picked, reversed(range(count))))


_CONTEXT = """
  %table = load ptr, ptr %context, align 8
  %start.at = getelementptr ptr, ptr %context, i64 1
  %start = load i64, ptr %start.at, align 8
  %words.at = getelementptr ptr, ptr %context, i64 2
  %words.all = load ptr, ptr %words.at, align 8
  %here = ptrtoint ptr %X to i64
  %bytes.before = sub i64 %here, %start
  %vectors.before = udiv i64 %bytes.before, {size}
  %words = getelementptr i{lanes}, ptr %words.all, i64 %vectors.before"""


def _noted(missing: Value) -> str:
    """Store the word of the vector %i."""
    return f"""
  %word = bitcast {vector("i1")} {missing.name} to i{LANES}
  %word.at = getelementptr i{LANES}, ptr %words, i64 %i
  store i{LANES} %word, ptr %word.at, align 4"""
