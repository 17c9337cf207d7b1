"""Interleaved timing on a shared machine: only ratios within a round are believed."""

from __future__ import annotations

import contextlib
import ctypes
import math
import random
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["PASSIVE", "WHY_KEPT", "WHY_PASSIVE", "Ratio", "interleaved", "keep_memory", "ratio", "seconds_of"]

# OpenMP reads this once, when it is loaded, which is when torch is imported.
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}
WHY_PASSIVE = (
    "OMP_WAIT_POLICY=PASSIVE: by default OpenMP's threads spin while they wait, and two pools on few cores "
    "then stall each other for longer than what is measured"
)
WHY_KEPT = (
    "Freed memory up to 32 MiB stays with the process (glibc): else whichever function happens to be called next pays for fresh "
    "pages, which takes as long as what is measured"
)
SHORTEST = 4e-3  # seconds; what is faster is repeated within a round, and its median call counts: others run here too
FEWEST = 5  # rounds, however long they take
SETTLING = 0.5  # seconds of calls that do not count: at first a process takes longer for the same, GELU too

TimedCall = Callable[[], Any]
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of all rounds, with the quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        digits = 2 if self.median < 10 else 1 if self.median < 100 else 0
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


def keep_memory() -> None:
    """Let the C library keep freed memory for as long as the process lives; other libraries than glibc are left alone."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        change = ctypes.CDLL(None).mallopt
        for what, to in ((-1, 2**31 - 1), (-2, 2**28), (-3, 2**25)):  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD at its largest
            change(what, to)


def interleaved(
    functions: Mapping[Name, TimedCall], rounds: int, seed: int = 0, *, most: float = math.inf, finish: TimedCall | None = None
) -> dict[Name, list[float]]:
    """The seconds of one call of each function in each round; every round calls all of them, each time in another order.

    most     seconds after which no new round begins, once there are `FEWEST`
    finish   waits until a device has done what it was told; without one a call has done its work when it returns
    """
    order, rng, start = list(functions), random.Random(seed), time.perf_counter()
    while time.perf_counter() - start < SETTLING:
        for name in order:
            seconds_of(functions[name], 1, finish)
    repeats = {name: max(1, int(SHORTEST / _warm(f, finish))) for name, f in functions.items()}  # of what may have compiled
    seconds: dict[Name, list[float]] = {name: [] for name in functions}
    start = time.perf_counter()
    for done in range(rounds):
        if done >= FEWEST and time.perf_counter() - start > most:
            break
        rng.shuffle(order)
        for name in order:
            seconds[name].append(_typical(functions[name], repeats[name], finish))
    return seconds


def ratio(seconds: Sequence[float], baseline: Sequence[float], scale: float = 1.0) -> Ratio:
    """The time over that of the baseline, round by round; `scale` makes up for a different number of elements."""
    each = [scale * s / b for s, b in zip(seconds, baseline, strict=True)]
    low, median, high = statistics.quantiles(each, n=4, method="inclusive") if len(each) > 1 else each * 3
    return Ratio(median, low, high)


def seconds_of(function: TimedCall, repeats: int = 1, finish: TimedCall | None = None) -> float:
    """The seconds that one call takes, the mean of some calls."""
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    if finish is not None:
        finish()
    return (time.perf_counter() - start) / repeats


def _typical(function: TimedCall, repeats: int, finish: TimedCall | None) -> float:
    """The median of some calls, so that one that was interrupted does not count; on a device, where calls only queue, the mean."""
    if finish is not None:
        return seconds_of(function, repeats, finish)
    return statistics.median(seconds_of(function) for _ in range(repeats))


def _warm(function: TimedCall, finish: TimedCall | None) -> float:
    """The seconds of the second call; the first may compile."""
    seconds_of(function, 1, finish)
    return max(seconds_of(function, 1, finish), 1e-7)
