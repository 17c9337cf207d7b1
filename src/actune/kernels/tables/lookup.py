"""Tables evaluated by kernels of strips: polynomials whose coefficients are data, so that one kernel serves every table.

A table is a polynomial for each cell of |x| and each sign. Where the processor has AVX-512 the coefficients of one power in float32
are 32 numbers in two registers, from which one instruction picks those that sixteen inputs need (`Lanes.pick_from`); else the eight
coefficients of a cell are a row in memory (`Lanes.rows`).

context   three addresses: of the coefficients, of the first element of x, and of a word for each vector of x
P         1 / the width of a cell, and |x| from which nothing is covered, for x >= 0 and for x < 0

Each bit of a word says whether an element of its vector is not covered; what is computed for that one means nothing.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...tensors import Array
from ..cpu import llvm
from ..cpu.compiler import processor_lanes, read_elements, strip_assembly
from ..cpu.lanes import LANES, Lanes, Value, vector
from ..cpu.strips import Cut, Strip, link_strip, run_strips
from .precision import SINGLE, Precision

__all__ = ["Lookup"]


@dataclass(frozen=True, eq=False)
class Lookup:
    """The polynomials of a table as memory that a kernel reads.

    coefficients  (outputs, degree + 1, 2 * cells) for registers, (outputs, 2 * cells, degree + 1) for rows; from a cache line on
    limits        |x| from which nothing is covered, for x >= 0 and for x < 0
    """

    precision: Precision
    coefficients: Array
    limits: tuple[float, float]

    def __call__(self, x: Tensor, y: Tensor, g: Tensor | None = None) -> tuple[Array, Array]:
        """Write the first output at flat x, times g if there is one, to y.

        Returns the sums of g times each other output (float64), and the indices of x that the table does not cover: these add
        nothing to the sums.
        """
        words = torch.empty(-(-x.numel() // LANES), dtype=getattr(torch, f"int{LANES}"), device="cpu")
        context = (ctypes.c_void_p * 3)(self._address, x.data_ptr(), words.data_ptr())
        kernel = _lookup_kernel(self.precision, x.dtype, len(self.coefficients), g is not None)
        strip = Strip(kernel.run, ctypes.addressof(context), (context, words, self))
        sums = run_strips(strip, Cut(1, 1, x.numel()), self._numbers, x, y, g, len(self.coefficients) - 1)
        return sums[:, 0], _indices(words.numpy())

    # Worked out once, as a table is looked up many times.
    @functools.cached_property
    def _address(self) -> int:
        return int(self.coefficients.ctypes.data)

    @functools.cached_property
    def _numbers(self) -> Array:
        return np.array([[1 / self.precision.width], *([limit] for limit in self.limits)], self.precision.kind)


def _indices(words: Array) -> Array:
    """Where a bit is set, in words of as many bits as a vector has lanes."""
    some = np.flatnonzero(words)
    if not len(some):
        return some
    bits = np.flatnonzero(np.unpackbits(words[some].astype(f"<i{LANES // 8}").view(np.uint8), bitorder="little").view(np.bool_))
    found: Array = (some * LANES)[bits // LANES] + bits % LANES
    return found


@functools.cache
def _lookup_kernel(precision: Precision, dtype: torch.dtype, outputs: int, backward: bool) -> Strip:
    return link_strip(llvm.compile_assembly(_lookup_assembly(precision, dtype, outputs, backward), ("run",)))


def _lookup_assembly(precision: Precision, dtype: torch.dtype, outputs: int, backward: bool) -> str:
    """The kernel in LLVM assembly for elements of this dtype."""
    lanes = processor_lanes(dtype == torch.float64)
    x = read_elements(lanes, dtype, "x")
    per_width, positive, negative = (Value(lanes.code, lanes.kind, f"%param.{i}") for i in range(3))
    # The place in units of cells: a whole number, the cell, and t in [0, 1). Beyond the limit, and of nan, they are anything.
    place, bits = lanes.abs(x) * per_width, lanes.bits(x)
    cell = lanes.to_int(place)
    t = place - lanes.from_int(cell)
    sign = (bits >> (lanes.choose(32, 64) - precision.cells.bit_length())) & precision.cells  # the cells of x < 0 come second
    covered = lanes.abs(x) < lanes.where(bits < 0, negative, positive)
    coefficients = functools.partial(_picked if precision is SINGLE else _row_coefficients, lanes, precision, cell, sign)
    found = [lanes.polynomial(t, coefficients(output)) for output in range(outputs)]
    alive = Value(lanes.code, "i1", "%alive")
    before = _CONTEXT.format(size=LANES * dtype.itemsize, lanes=LANES)
    return strip_assembly(lanes, dtype, found, 3, False, backward, covered, before, _noted(alive & ~covered), flushed=True)


def _picked(lanes: Lanes, precision: Precision, cell: Value, sign: Value, output: int) -> list[Value]:
    """The coefficients of each lane's polynomial, from registers; a cell that does not exist is another one."""
    count, powers = 2 * precision.cells, precision.degree + 1
    return [lanes.pick_from(*lanes.registers("%table", count * (output * powers + k)), cell | sign) for k in range(powers)]


def _row_coefficients(lanes: Lanes, precision: Precision, cell: Value, sign: Value, output: int) -> list[Value]:
    """The coefficients of each lane's polynomial, read as rows from memory: for processors without AVX-512."""
    return lanes.rows("%table", ((cell & (precision.cells - 1)) | sign) + 2 * precision.cells * output)


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
