"""How far a Mittag-Leffler function is from mpmath: where it was timed, and over the reference values of the tests.

An error is |ŷ - y| over the scale of y, and over max(1, κ), κ = |zE'/E|: what a correct function makes of a rounded argument
does not count. Only values that the output type can hold count; no finite number where there is one is an infinite error.
"""

from __future__ import annotations

import functools
import gzip
import importlib.util
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

REFERENCE = Path(__file__).resolve().parent.parent / "tests" / "reference"
Evaluate = Callable[[float, float, float], float]  # α, β, z


@dataclass(frozen=True)
class Point:
    """An argument with E, the scale of its error, and E'."""

    alpha: float
    beta: float
    z: float
    value: float
    scale: float
    slope: float

    def error(self, y: float, largest: float) -> float:
        """The conditioned error of y, an approximation in a type whose largest finite number is given."""
        if abs(self.value) > largest:
            return 0.0 if abs(y) > largest / 2 else math.inf
        if not math.isfinite(y):
            return math.inf
        return abs(y - self.value) / max(self.scale, abs(self.z * self.slope))


@dataclass(frozen=True)
class Summary:
    """Errors over many points; `failed` counts those without a finite number, or with an exception in its place."""

    points: int
    failed: int
    median: float
    largest: float


@functools.cache
def reference() -> tuple[Point, ...]:
    """The stored points whose derivatives are known, for α, β > 0, which every package accepts."""
    with gzip.open(REFERENCE / "mittag_leffler.csv.gz", "rt") as file:
        rows = [[float(cell) for cell in line.split(",")[:6]] for line in file]
    return tuple(Point(*row) for row in rows if len(row) == 6 and row[0] > 0 and row[1] > 0)


@functools.cache
def exact(alpha: float, beta: float, z: float) -> Point:
    """One point more, by the program that made the stored ones: 60 digits."""
    row = _maker().evaluate((alpha, beta, z, 2))
    return Point(*[float(cell) for cell in row.split(",")[:6]])


def largest_error(alpha: float, beta: float, z: Sequence[float], y: np.ndarray) -> float:
    """The largest error of y = E(z), in the type that y has."""
    limit = float(np.finfo(y.dtype).max)
    return max(exact(alpha, beta, a).error(float(b), limit) for a, b in zip(z, y, strict=True))


def summary(evaluate: Evaluate, points: Iterable[Point]) -> Summary:
    """The errors of a float64 function, called point by point."""
    errors = sorted(p.error(_call(evaluate, p), float(np.finfo(np.float64).max)) for p in points)
    good = [e for e in errors if math.isfinite(e)]
    return Summary(len(errors), len(errors) - len(good), errors[len(errors) // 2], good[-1] if good else math.inf)


def _call(evaluate: Evaluate, p: Point) -> float:
    try:
        return evaluate(p.alpha, p.beta, p.z)
    except (ArithmeticError, ValueError, RuntimeError):
        return math.nan


@functools.cache
def _maker() -> Any:
    spec = importlib.util.spec_from_file_location("make_mittag_leffler", REFERENCE / "make_mittag_leffler.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
