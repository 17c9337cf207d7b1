"""A formula over memory that stays where it is: what `fused` works out at each call is worked out once, for thousands of calls.

For float32 matrices (samples, channels) with parameters a channel, in one thread.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...language.expr import Expr
from .fused import slopes
from .lanes import LANES
from .strips import Layout, Strip, bound, layout
from .tiers import chosen

__all__ = ["Placed", "Ways", "arranged"]

Call = Callable[[], None]


@dataclass(frozen=True)
class Ways:
    """What computes the values of a formula now, and what its gradients."""

    values: Strip
    pullback: Strip


@dataclass(frozen=True)
class Placed:
    """A formula of x and parameters, of which the learned ones are the first."""

    e: Expr
    learned: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return self.learned + self.fixed

    def ways(self, channels: int, forward: int, backward: int) -> Ways:
        """The kernels for so many elements more; they may be others each time, and give the same bits."""
        columns = bool(self.names) and channels > 1
        values = chosen((self.e,), self.names, torch.float32, columns, False, forward)
        return Ways(values, chosen(slopes(self.e, self.learned), self.names, torch.float32, columns, True, backward))

    def values(self, ways: Ways, x: Tensor, y: Tensor, numbers: Tensor) -> Call:
        """Writes the values at x to y, when called; numbers: a row for each parameter, see `arranged`."""
        return bound(ways.values, self._layout(x), numbers, x, y)

    def pullback(self, ways: Ways, x: Tensor, g: Tensor, gx: Tensor, numbers: Tensor, sums: Tensor) -> Call:
        """Writes the gradient of x to gx, adds those of the learned parameters to sums: float64, laid out as numbers."""
        return bound(ways.pullback, self._layout(x), numbers, x, gx, g, sums)

    def _layout(self, x: Tensor) -> Layout:
        return arranged(*x.shape)[0] if self.names else Layout(1, 1, x.numel())


@functools.lru_cache(maxsize=256)
def arranged(samples: int, channels: int) -> tuple[Layout, int]:
    """How a matrix is cut, and the length of a row of numbers: those of all channels, `repeats` times, filled up to vectors."""
    at = layout((samples, channels), ((1, channels),))
    assert at is not None  # the channels are a run of dimensions
    return at, math.ceil(at.channels / LANES) * LANES if at.columns else at.channels
