"""Interleaved timing on a shared machine: only ratios within a round are believed.

Import this before torch. OpenMP's threads spin while they wait, by default; two pools on few cores then stall each other for
milliseconds, and the library reads OMP_WAIT_POLICY once, when it is loaded.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

if "torch" in sys.modules and os.environ.get("OMP_WAIT_POLICY") != "PASSIVE":
    raise ImportError("timing must be imported before torch, or OMP_WAIT_POLICY=PASSIVE be set for the process")
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

SHORTEST = 2e-3  # seconds; what is faster is repeated within a round, so that the clock and the interpreter weigh little


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of all rounds, with the quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        digits = 2 if self.median < 10 else 1 if self.median < 100 else 0
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


def interleaved(functions: Mapping[str, Callable[[], Any]], rounds: int, seed: int = 0) -> dict[str, list[float]]:
    """The seconds of one call of each function in each round; every round calls all of them, each time in another order."""
    repeats = {name: max(1, int(SHORTEST / _warm(f))) for name, f in functions.items()}
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    order, rng = list(functions), random.Random(seed)
    for _ in range(rounds):
        rng.shuffle(order)
        for name in order:
            seconds[name].append(_seconds(functions[name], repeats[name]))
    return seconds


def ratio(seconds: Sequence[float], baseline: Sequence[float], scale: float = 1.0) -> Ratio:
    """How many times as long as the baseline, round by round; `scale` makes up for a different number of elements."""
    each = [scale * s / b for s, b in zip(seconds, baseline, strict=True)]
    low, median, high = statistics.quantiles(each, n=4, method="inclusive") if len(each) > 1 else each * 3
    return Ratio(median, low, high)


def _warm(function: Callable[[], Any]) -> float:
    """The seconds of a call after one that may compile."""
    function()
    return max(_seconds(function, 1), 1e-7)


def _seconds(function: Callable[[], Any], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats
