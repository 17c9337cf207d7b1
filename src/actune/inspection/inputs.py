"""What enters an activation function while a model runs: how much, in which range, and what of it has an effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .slopes import SATURATED, live_units, slope

__all__ = ["InputRecord", "InputSummary"]

_BINS = 64
_KEPT = 1 << 16  # numbers per place that stand for all, for quantiles and the histogram


@dataclass(frozen=True)
class InputSummary:
    """The inputs of an activation function over all runs.

    count            how many numbers there were; the facts below, but for `infinite`, are of those that are finite
    infinite         how many were infinite or nan
    low, high        the range; None where no number was finite
    mean, deviation  the mean and the standard deviation
    saturated        the share at which the slope of the function lies between -0.01 and 0.01
    units, dead      how many entries the dimension of channels has, and the share of them whose slope never exceeded 1e-6
    edges, counts    a histogram: its ends, at the quantiles 0.001 and 0.999 of a sample, and how much of the sample is in each bin
    """

    count: int
    infinite: int
    low: float | None
    high: float | None
    mean: float | None
    deviation: float | None
    saturated: float | None
    units: int
    dead: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]


class InputRecord:
    """Gathers the facts of an `InputSummary` batch by batch."""

    def __init__(self) -> None:
        self.count = self.infinite = self.flat = 0
        self.low, self.high = float("inf"), float("-inf")
        self.mean = self.squares = 0.0  # the mean, and the sum of the squares of the distances from it
        self.live: Tensor | None = None
        self.kept: list[Tensor] = []
        self.thinned = 1  # one number in so many is kept
        self.draw = torch.Generator().manual_seed(0)

    def add(self, x: Tensor, dim: int, compute: Callable[[Tensor], Tensor]) -> None:
        """Take in the input of one call of a function that computes elementwise, with channels along `dim`."""
        slopes = slope(compute, x)
        x = x.detach()
        live = live_units(slopes if x.ndim > 1 else slopes.reshape(-1, 1), dim if x.ndim > 1 else -1)  # else one unit
        self.live = live if self.live is None or self.live.shape != live.shape else self.live | live
        is_finite = x.isfinite()
        numbers = x[is_finite].double()
        self.count += x.numel()
        self.infinite += x.numel() - len(numbers)
        if len(numbers):
            self.flat += int((slopes[is_finite].abs() < SATURATED).sum())
            self.low, self.high = min(self.low, float(numbers.min())), max(self.high, float(numbers.max()))
            self._move_mean(numbers)
            self._keep(numbers)

    def _move_mean(self, numbers: Tensor) -> None:
        # Chan, Golub and LeVeque (1983): the moments of two sets from those of each, without differences of large sums.
        before, here = self.count - self.infinite - len(numbers), len(numbers)
        away = float(numbers.mean()) - self.mean
        self.mean += away * here / (before + here)
        self.squares += float((numbers - numbers.mean()).square().sum()) + away**2 * before * here / (before + here)

    def _keep(self, numbers: Tensor) -> None:
        """Some of the numbers; when these become too many, half of them, so that all batches count alike."""
        # Drawn at random: a regular stride may meet the same channels again and again.
        some = torch.randint(len(numbers), (-(-len(numbers) // self.thinned),), generator=self.draw)
        self.kept.append(numbers.cpu()[some])
        while sum(map(len, self.kept)) > _KEPT:
            self.thinned *= 2
            self.kept = [part[torch.randperm(len(part), generator=self.draw)[: -(-len(part) // 2)]] for part in self.kept]

    def summary(self) -> InputSummary:
        """What was gathered so far."""
        finite = self.count - self.infinite
        dead = 1 - float(self.live.double().mean()) if self.live is not None and len(self.live) else 0.0
        units = 0 if self.live is None else len(self.live)
        if not finite:
            return InputSummary(self.count, self.infinite, None, None, None, None, None, units, dead, (), ())
        edges, counts = _histogram(torch.cat(self.kept))
        deviation, saturated = (self.squares / finite) ** 0.5, self.flat / finite
        return InputSummary(
            self.count, self.infinite, self.low, self.high, self.mean, deviation, saturated, units, dead, edges, counts
        )


def _histogram(numbers: Tensor) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """The two ends, and the counts between them: a few outliers shall not squeeze the rest into one bin."""
    ordered = numbers.sort().values
    cut = len(ordered) // 1000
    low, high = float(ordered[cut]), float(ordered[-1 - cut])
    if low == high:
        return (low, high), (len(numbers),)
    counts = torch.histc(numbers[(numbers >= low) & (numbers <= high)], _BINS, low, high)
    return (low, high), tuple(map(int, counts.tolist()))
