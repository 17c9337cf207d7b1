"""The Mittag-Leffler function to many digits, stored: `reference/make_mittag_leffler.py` makes them."""

import functools
import gzip
from pathlib import Path

import torch
from torch import Tensor

REFERENCE = Path(__file__).parent / "reference" / "mittag_leffler.csv.gz"
ORDERS = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2, 0, 0), (1, 1, 0), (1, 0, 1), (0, 2, 0), (0, 1, 1), (0, 0, 2)]


@functools.cache
def reference() -> tuple[Tensor, Tensor]:
    """Rows α, β, z, and value and scale: of E alone; of every order in ORDERS."""
    with gzip.open(REFERENCE, "rt") as file:
        rows = [[float(x) for x in line.split(",")] for line in file]
    narrow, wide = ([r for r in rows if len(r) == width] for width in (5, 3 + 2 * len(ORDERS)))
    assert len(rows) == len(narrow) + len(wide)
    return torch.tensor(narrow, dtype=torch.float64), torch.tensor(wide, dtype=torch.float64)
