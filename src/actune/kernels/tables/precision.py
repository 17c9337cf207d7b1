"""What the tables of a dtype are made of: how many cells, how wide, polynomials of what degree, and how exact."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...tensors import Array

__all__ = ["DOUBLE", "PLAIN", "SINGLE", "Precision"]


@dataclass(frozen=True)
class Precision:
    """What the tables of a dtype are made of.

    cells       of each sign
    widths      of the first cell of x >= 0 and of that of x < 0: 1 / width has few bits
    lowest      degree of the polynomials, and
    degree      the highest: a table whose functions need no more than less is looked up sooner
    tolerance   the error that they may make, relative to |f| + |x f'|
    octave      after how many cells, a power of two, they become twice as wide; None: all are of one width
    """

    dtype: torch.dtype
    cells: int
    widths: tuple[float, float]
    lowest: int
    degree: int
    tolerance: float
    octave: int | None = None

    @functools.cached_property
    def edges(self) -> Array:
        """(2, cells + 1): |x| where cells begin and, the last, end, x >= 0 first."""
        each = np.arange(self.cells + 1.0)
        if self.octave:
            doublings, more = np.divmod(each, self.octave)
            each = (self.octave + more) * 2**doublings - self.octave
        found: Array = np.array(self.widths)[:, None] * each
        return found

    @functools.cached_property
    def scales(self) -> tuple[float, float]:
        """The t of a kernel at the end of the first cell of x >= 0 and of that of x < 0."""
        return (1.0, 1.0) if self.octave is None else (2 / self.octave, 2 / self.octave * 2.0 ** (self.cells // self.octave))

    @functools.cached_property
    def units(self) -> Array:
        """(2, cells): the t of a kernel at the end of each cell; 1 if all are of one width."""
        found: Array = np.diff(self.edges) / np.array(self.widths)[:, None] * np.array(self.scales)[:, None]
        return found

    @property
    def nodes(self) -> int:
        """In a cell: two more than the polynomial needs, which show its error."""
        return self.degree + 3

    @functools.cached_property
    def kind(self) -> Any:
        """The dtype in NumPy."""
        return torch.empty(0, dtype=self.dtype, device="cpu").numpy().dtype

    @property
    def in_registers(self) -> bool:
        """Whether the numbers of one power, for all cells, are picked from two registers; else the powers of a cell are a row."""
        return self.dtype == torch.float32 and self.cells == 16


SINGLE = Precision(torch.float32, 16, (0.5, 0.5), 5, 9, 2.5 * 2**-24)  # with AVX-512
PLAIN = Precision(torch.float32, 64, (0.125, 0.125), 7, 7, 2.5 * 2**-24)  # without: a row has eight numbers, needed or not
DOUBLE = Precision(torch.float64, 128, (0.0625, 0.0625), 7, 7, 4e-14)
