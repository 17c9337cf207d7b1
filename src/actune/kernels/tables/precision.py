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
    width       of a cell, a power of two
    degree      of the polynomials
    tolerance   the error that they may make, relative to |f| + |x f'|
    """

    dtype: torch.dtype
    cells: int
    width: float
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
    def reach(self) -> float:
        """|x| that a table covers at most."""
        return self.cells * self.width


SINGLE = Precision(torch.float32, 16, 0.5, 9, 2.5 * 2**-24)  # with AVX-512
PLAIN = Precision(torch.float32, 64, 0.125, 7, 2.5 * 2**-24)  # without
DOUBLE = Precision(torch.float64, 128, 0.0625, 7, 4e-14)
