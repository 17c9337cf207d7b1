"""What the tables of a dtype are made of: how many cells, how wide, polynomials of what degree, and how exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["DOUBLE", "PLAIN", "SINGLE", "Precision"]


@dataclass(frozen=True)
class Precision:
    """What the tables of a dtype are made of.

    cells       of each sign
    widths      of a cell of x >= 0 and of one of x < 0: 1 / width has few bits
    lowest      degree of the polynomials, and
    degree      the highest: a table whose functions need no more than less is looked up sooner
    tolerance   the error that they may make, relative to |f| + |x f'|
    """

    dtype: torch.dtype
    cells: int
    widths: tuple[float, float]
    lowest: int
    degree: int
    tolerance: float

    @property
    def nodes(self) -> int:
        """In a cell: two more than the polynomial needs, which show its error."""
        return self.degree + 3

    @property
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
